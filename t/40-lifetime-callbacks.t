use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use EV;
use EV::Websockets;
use Run;
use Stage;

# What a program may do inside a callback, in each of the seven, in both roles.

# Plays one case with $action in its callback and hands the stage to $check.
sub in_each_callback {
    my ($what, $action, $check) = @_;
    subtest $what => sub {
        for my $case (Stage::cases()) {
            my ($callback, $role) = @$case;
            my $stage = Stage->new(callback => $callback, role => $role, action => $action);
            $check->($stage, "$callback ($role)");
        }
    };
    return;
}

# For actions that must not be felt by the connection.
sub goes_on {
    my ($stage, $where) = @_;
    ok $stage->play, "$where: comes to its end";
    is $stage->{acted} > 0, 1, "$where: was reached";
    is $stage->order, $stage->undisturbed, "$where: every callback, in order";
    is_deeply [map { $_->[1] } grep { $_->[0] eq 'message' } @{ $stage->{log} }],
        $stage->{callback} eq 'refused' ? [] : [qw(one two three)], "$where: the messages in order";
    is keys %{ $stage->{names} }, 1, "$where: always the same \$conn";
    is $stage->{seen}, scalar(grep { $_->[0] ne 'handshake' } @{ $stage->{log} }), "$where: with the same stash";
    return;
}

# For actions that end our side: nothing of ours may be called afterwards.
sub falls_silent {
    my ($stage, $where) = @_;
    ok $stage->play(sub { $stage->{acted} }), "$where: was reached";
    my $before = $stage->order;
    ok $stage->play(sub { $stage->they_are_over }), "$where: the other side notices";
    settle();
    is $stage->order, $before, "$where: no callback after that";
    return;
}

in_each_callback 'nothing' => sub { }, \&goes_on;

in_each_callback 'a reference dropped' => sub { delete $_[0]{conn}; @_ = () }, \&goes_on;

in_each_callback 'a nested EV::run for a moment' => sub {
    my $timer = EV::timer(0.02, 0, sub { EV::break });
    EV::run;
}, \&goes_on;

in_each_callback 'a nested EV::run to the end' => sub {
    my ($stage) = @_;
    # The upgrade is waiting for the answer that this callback gives.
    return if $stage->{callback} eq 'handshake';
    $stage->play;
}, \&goes_on;

in_each_callback 'EV::break' => sub { EV::break }, sub {
    my ($stage, $where) = @_;
    my $guard = EV::timer(60, 0, sub { $stage->{late} = 1; EV::break });
    EV::run;
    undef $guard;
    ok !$stage->{late}, "$where: EV::run returns";
    goes_on($stage, $where);
};

in_each_callback 'die' => sub { die "thrown on purpose\n" }, sub {
    my ($stage, $where) = @_;
    my $callback = $stage->{callback};
    if ($callback eq 'handshake') {
        ok $stage->play(sub { $stage->they_are_over }), "$where: the client is turned away";
        like $stage->{their_error}, qr/403/, "$where: with 403";
        is $stage->order, 'handshake', "$where: and there is no connection";
    }
    else { goes_on($stage, $where) }
    my $handler = $callback eq 'handshake' ? 'on_handshake'
        : $callback eq 'refused' ? 'error handler' : "$callback handler";
    is_deeply [warned()], ["EV::Websockets: exception in $handler: thrown on purpose\n"], "$where: warned";
};

{
    # Only callbacks of ours run in here: EV itself clears $@ for those of its own.
    my ($context, @kept) = EV::Websockets::Context->new;
    my $port = $context->listen(on_message => sub { push @kept, $@; die "lost\n" });
    my $conn = $context->connect(
        url        => "ws://127.0.0.1:$port/",
        on_connect => sub { $_[0]->send('x'); $_[0]->close },
        on_close   => sub { push @kept, $@; EV::break },
    );
    $@ = 'of the program';
    EV::run;
    my $after = $@;
    is $after, 'of the program', '$@ of the program is left as it was';
    is @kept, 2, 'by two callbacks';
    is_deeply [warned()], ["EV::Websockets: exception in message handler: lost\n"], 'one of which died';
}

in_each_callback 'close' => sub {
    my ($stage, $conn) = @_;
    $conn->close(1001, 'enough') if $stage->{callback} ne 'handshake';
}, sub {
    my ($stage, $where) = @_;
    ok $stage->play, "$where: comes to its end";
    my $order = $stage->order;
    return is $order, $stage->undisturbed, "$where: too early or too late to matter"
        if $stage->{callback} =~ /^(?:handshake|error|refused|close)$/;
    like $order, qr/^(?:handshake )?connect(?: message)*(?: pong)? close$/, "$where: on_close once, and last";
    my $messages = () = $order =~ /message/g;
    my %most = (connect => 0, message => 1, pong => 3, drain => 3);
    cmp_ok $messages, '<=', $most{ $stage->{callback} }, "$where: and no message after close()";
    is_deeply $stage->{their_close}, [1001, 'enough'], "$where: the other side is told"
        if $stage->{callback} ne 'pong';
};

in_each_callback 'the context destroyed' => sub { delete $_[0]{ours} }, sub {
    my ($stage, $where) = @_;
    falls_silent($stage, $where);
    return if $stage->{callback} eq 'handshake';
    is $stage->{conn}->state, 'closed', "$where: the connection object is closed";
    ok !eval { $stage->{conn}->send('x'); 1 }, "$where: send croaks";
    like $@, qr/^Connection is not open/, "$where: and says why";
};

in_each_callback 'everything dropped at once' => sub { delete @{ $_[0] }{qw(conn ours)}; @_ = () },
    \&falls_silent;

in_each_callback 'the context destroyed in a nested EV::run' => sub {
    my ($stage) = @_;
    my $timer = EV::timer(0, 0, sub { delete $stage->{ours}; EV::break });
    EV::run;
}, \&falls_silent;

subtest 'a context that both sides share, destroyed' => sub {
    for my $case (Stage::cases()) {
        my ($callback, $role) = @$case;
        my $where = "$callback ($role)";
        my $stage = Stage->new(callback => $callback, role => $role, share => 1,
            action => sub { delete @{ $_[0] }{qw(ours theirs)} });
        ok $stage->play(sub { $stage->{acted} }), "$where: was reached";
        my @before = ($stage->order, scalar @{ $stage->{their_log} }, $stage->{they_are_over});
        # Nothing is left that could keep the loop alive.
        EV::run;
        is_deeply [$stage->order, scalar @{ $stage->{their_log} }, $stage->{they_are_over}], \@before,
            "$where: no callback of either side after that";
    }
};

finish;
