use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Events;
use Pair;
use Run;
use Test::More;

# Loops that are run inside of callbacks: the same one, another one, and what
# becomes of those outside.

# A callback waits for an answer that another callback of the same connection
# gets, ten deep. Each inner loop delivers what the outer ones have not come to.
{
    my (@asked, @left);
    my $pair = Pair->open(
        listen  => { on_message => sub { $_[0]->send($_[1] + 1) } },
        connect => { on_message => sub {
            my ($conn, $number) = @_;
            push @asked, $number;
            return if $number >= 10;
            $conn->send($number);
            EV::run(EV::RUN_ONCE()) until $asked[-1] >= 10;
            push @left, $number;
        } },
    );
    $pair->c->send(0);
    run_until(sub { @left == 9 }, 'a callback runs the loop, whose callback runs the loop ...');
    is("@asked", '1 2 3 4 5 6 7 8 9 10', 'each gets its answer inside of the one before');
    is("@left", '9 8 7 6 5 4 3 2 1', 'and they end from the innermost to the outermost');
    $pair->shut;
}

# EV::break ends the innermost run, and no other.
{
    my @trail;
    my $pair = Pair->open(listen => { on_message => sub {
        my ($conn, $bytes) = @_;
        push @trail, "in $bytes";
        EV::run() if $bytes eq 'outer';
        EV::break() if $bytes eq 'inner';
        push @trail, "out $bytes";
    } });
    my $guard = EV::timer(30, 0, sub { EV::break(EV::BREAK_ALL()) });
    my $send = EV::timer(0.02, 0, sub { $pair->c->send('inner') });
    my $after = EV::timer(0.2, 0, sub { push @trail, 'the outer loop'; EV::break() });
    $pair->c->send('outer');
    EV::run();
    is(join(', ', @trail), 'in outer, in inner, out inner, out outer, the outer loop', 'EV::break in a nested run');
}

# A batch of messages, with the loop run in the midst of it: none is lost, and
# each comes once, in order.
{
    my @got;
    my $pair = Pair->open(listen => { on_message => sub {
        push @got, $_[1];
        EV::run(EV::RUN_NOWAIT()) if $_[1] % 7 == 0;
    } });
    $pair->c->send($_) for 1 .. 300;
    run_until(sub { @got == 300 }, 'a batch, and a nested run at every seventh message');
    is_deeply(\@got, [ 1 .. 300 ], 'in order');
}

# A callback on one loop waits for a context on another: that moves, and the
# loop outside stands still for as long.
{
    my ($outer, $inner) = (EV::Loop->new, EV::Loop->new);
    my $backend = EV::Websockets::Context->new(loop => $inner);
    my $backend_port = $backend->listen(on_message => sub { $_[0]->send(uc $_[1]) });
    my $front = EV::Websockets::Context->new(loop => $outer);
    my $ticks = 0;
    my $front_port = $front->listen(on_message => sub {
        my ($conn, $bytes) = @_;
        my $before = $ticks;
        my $answer;
        my $asked = $backend->connect(
            url        => "ws://127.0.0.1:$backend_port",
            on_connect => sub { $_[0]->send($bytes) },
            on_message => sub { $answer = $_[1]; $_[0]->close },
            on_close   => sub { $inner->break },
            on_error   => sub { $inner->break },
        );
        $inner->run;
        $conn->send("$answer, " . ($ticks - $before));
    });
    my $timer = $outer->timer(0.001, 0.001, sub { $ticks++ });
    my @clients = map { Events->new } 1 .. 2;
    $front->connect(
        url => "ws://127.0.0.1:$front_port", $_->handlers(on_connect => sub { $_[0]->send('word') })) for @clients;
    run_until(sub { 2 == grep { $_->count('message') } @clients }, 'a loop inside of a callback of another', $outer);
    is(($_->messages)[0], 'WORD, 0', 'the inner one gets on, the outer one stands still') for @clients;
}

# Inside of a nested run everything is given up: its own loop's context, and the
# context whose callback it is. The loop is still held by the context, then by
# nobody.
for my $which ('the one that is run', 'the one that it is called from') {
    my ($outer, $inner) = (EV::Loop->new, EV::Loop->new);
    my %context = map { $_->[0] => EV::Websockets::Context->new(loop => $_->[1]) } [ outer => $outer ], [ inner => $inner ];
    my %port = map { $_ => $context{$_}->listen } keys %context;
    my ($late, $closed) = (0, 0);
    my $conn = $context{outer}->connect(
        url        => "ws://127.0.0.1:$port{outer}",
        on_close   => sub { $closed++ },
        on_connect => sub {
            $context{inner}->connect(
                url        => "ws://127.0.0.1:$port{inner}",
                on_connect => sub {
                    delete $context{ $which eq 'the one that is run' ? 'inner' : 'outer' };
                    $inner->break;
                },
                on_close => sub { $closed++ },
            );
            $inner->run;
            $outer->break;
        },
    );
    my $guard = $outer->timer(30, 0, sub { $late = 1; $outer->break });
    $outer->run;
    is($late, 0, "a context given up in a nested run: $which");
    is($conn->state, $context{outer} ? 'connected' : 'closed', 'the other goes on');
    is($closed, 0, 'nobody is told');
    undef $guard;
    undef $inner;
    undef $outer;
    %context = ();
    is($conn->state, 'closed', 'after context and loop the connection can be asked');
}

finish();
