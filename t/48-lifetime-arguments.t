use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Socket;
use EV;
use EV::Websockets;
use Pair;
use Run;

# Reading the arguments of a method can run the program's code, which can drop the
# last reference to the object that the method was called on, or to another argument.

{
    package Overloaded;
    use overload '""' => sub { $_[0]{run}->(); $_[0]{text} }, bool => sub { $_[0]{run}->(); 1 }, fallback => 1;
    sub new { my ($class, $text, $run) = @_; return bless { text => $text, run => $run }, $class }
}
{
    package Tied;
    sub TIESCALAR { my ($class, $text, $run) = @_; return bless { text => $text, run => $run }, $class }
    sub FETCH { my ($self) = @_; $self->{run}->(); return $self->{text} }
}

# How an argument has code run: what makes one of a text and what drops the object.
my %way = (
    'an overloaded argument' => sub { return \Overloaded->new(@_) },
    'a tied argument'        => sub { tie my $tied, 'Tied', @_; return \$tied },
);

# A hash with the argument itself as a value, tied if it is.
sub aliased {
    my ($key) = @_;
    my %hash = ($key => undef);
    my $run = tied $_[1] or return { $key => $_[1] };
    tie $hash{$key}, 'Tied', $run->{text}, $run->{run};
    return \%hash;
}

my $neighbour = EV::Websockets::Context->new;
my $port = $neighbour->listen(host => '127.0.0.1');
my ($ctx, $kept);    # the last references
my %context_call = (
    connect => [ "ws://127.0.0.1:1/", sub { $ctx->connect(url => $_[0]) } ],
    listen  => [ 'name', sub { $ctx->listen(host => '127.0.0.1', name => $_[0], protocol => $_[0]) } ],
    shutdown => [ 'bye', sub { $ctx->shutdown(reason => $_[0]) } ],
    'listen with headers' => [ 'x', sub { $ctx->listen(headers => aliased(Server => $_[0])) } ],
    'stop_listening' => [ $port, sub { $ctx->stop_listening($_[0]) } ],
    'reload_tls'     => [ $port, sub { $ctx->reload_tls($_[0]) } ],
    'adopt'          => [ 'GET', sub {
        socketpair my $here, my $there, AF_UNIX, SOCK_STREAM, PF_UNSPEC or die "socketpair: $!";
        $ctx->adopt(fh => $here, initial_data => $_[0]);
    } ],
);

# The bug: the typemap gave a pointer before the options were read, and nothing held
# the object. connect, listen and adopt then wrote to a context that was freed.
subtest 'a context whose last reference goes' => sub {
    for my $name (sort keys %context_call) {
        my ($text, $call) = @{ $context_call{$name} };
        for my $way (sort keys %way) {
            $ctx = EV::Websockets::Context->new;
            my $argument = $way{$way}->($text, sub { undef $ctx });
            croaks_like { $call->($$argument) } qr/\AContext has been destroyed at /,
                "$name, $way";
        }
    }
};

subtest 'a warn handler' => sub {
    $ctx = EV::Websockets::Context->new;
    local $SIG{__WARN__} = sub { undef $ctx };
    croaks_like { $ctx->connect(url => 'ws://127.0.0.1:1/', misspelt => 1) } qr/\AContext has been destroyed at /,
        'connect';
};

# Another argument, or the tied variable that is called on.
subtest 'another argument goes' => sub {
    my %held = (url => "ws://127.0.0.1:1/" . 'x' x 100);
    $ctx = EV::Websockets::Context->new;
    tie my $first, 'Tied', 'x', sub { delete $held{url} };
    my $conn = $ctx->connect(protocol => $first, url => $held{url});
    is $conn->state, 'connecting', 'connect has the url that was given';
    undef $ctx;
};

# The bug: a handshake was freed while it was answered.
subtest 'a handshake whose last reference goes' => sub {
    my %handshake_call = (
        accept   => [ 'x', sub { $kept->accept(aliased(Server => $_[0])) } ],
        reject   => [ 404, sub { $kept->reject($_[0]) } ],
        protocol => [ 'chat', sub { $kept->protocol($_[0]) } ],
    );
    for my $name (sort keys %handshake_call) {
        my ($text, $call) = @{ $handshake_call{$name} };
        for my $way (sort keys %way) {
            my $context = EV::Websockets::Context->new;
            my $at = $context->listen(host => '127.0.0.1', on_handshake => sub { $kept = $_[1] });
            my $told = '';
            my $conn = $context->connect(
                url        => "ws://127.0.0.1:$at/",
                protocol   => 'chat',
                on_connect => sub { $told = 'connected' },
                on_error   => sub { $told = $_[1] },
            );
            wait_until(sub { $kept });
            my $argument = $way{$way}->($text, sub { undef $kept });
            ok eval { $call->($$argument); 1 }, "$name, $way" or diag $@;
            run_until(sub { $told }, '... and the client is answered');
            like $told, $name eq 'accept' ? qr/connected/ : $name eq 'reject' ? qr/404/ : qr/500/, "... $name";
        }
    }
};

# The bug: the bytes were taken, and then the invocant's FETCH was run, which freed
# them. And a tied invocant was fetched once: the second call went to the object of
# the first.
subtest 'a tied invocant' => sub {
    my $pair = Pair->open;
    my $conn = $pair->c;
    for my $name (qw(send send_binary send_fragment)) {
        my $data;
        tie my $tied, 'Tied', $conn, sub { undef $data };
        # perl fetches it once to find the method; this is about the fetch of the method itself.
        my $method = EV::Websockets::Connection->can($name);
        $data = join ',', 1 .. 20_000;
        my $sent = eval { $method->($tied, $data); 1 };
        is $sent, undef, "$name: its FETCH undefines the data";
        like $@, qr/data must be defined/, '... which is what the method sees';
    }

    my $other = Pair->open;
    my @objects = ($conn, $other->c);
    tie my $tied, 'Turns', \@objects;
    EV::Websockets::Connection::send($tied, 'first');
    EV::Websockets::Connection::send($tied, 'second');
    is $conn->send_queue_size, 5, 'each call fetches its invocant: the first';
    is $other->c->send_queue_size, 6, '... and the second';
};

{
    package Turns;
    sub TIESCALAR { my ($class, $list) = @_; return bless { list => $list, n => 0 }, $class }
    sub FETCH { my ($self) = @_; return $self->{list}[ $self->{n}++ % 2 ] }
}

# close and send_fragment had the same order as send.
subtest 'arguments that undo each other' => sub {
    my $pair = Pair->open;
    my $conn = $pair->c;
    my $reason;
    tie my $tied, 'Tied', $conn, sub { undef $reason };
    $reason = join '', 'because', '.' x 50;
    EV::Websockets::Connection::close($tied, 4000, $reason);
    run_until(sub { $pair->server->count('close') }, 'closed by a tied invocant');
    is_deeply $pair->server->last_of('close'), [ 4000, undef ], 'its FETCH undefines the reason, which is what is sent';

    $pair = Pair->open;
    my $sender = $pair->c;
    my $text = join '', 'whole', '.' x 50;
    my $final = Overloaded->new(1, sub { undef $sender; undef $text });
    $sender->send_fragment($text, 0, $final);
    run_until(sub { $pair->server->count('message') }, 'a flag that drops the invocant: the message is sent');
    is_deeply [ $pair->server->messages ], [ 'whole' . '.' x 50 ], '... as it was';
};

finish();
