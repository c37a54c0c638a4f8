use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use EV;
use EV::Websockets;
use HttpPeer;
use InChild;
use Pair;
use POSIX ();
use RawPeer;
use Run;

# fork(2) with open connections. What the child does to its copies must not be
# seen on the wire: they are the parent's.

# Both sides of the pair go on as if nothing had been.
sub goes_on {
    my ($pair, $what) = @_;
    settle();
    $_->forget for $pair->client, $pair->server;
    is $pair->c->state . ' ' . $pair->s->state, 'connected connected', "$what: both sides are connected";
    $pair->c->send('from the client');
    $pair->s->send('from the server');
    run_until(sub { $pair->client->count('message') && $pair->server->count('message') },
        "$what: both sides go on");
    is join(' ', $pair->client->order, $pair->server->order), 'message message', "$what: nothing else happened";
    is_deeply [$pair->client->messages, $pair->server->messages], ['from the server', 'from the client'],
        "$what: messages are whole";
    return;
}

# An echo between two connections of a new context, to $host.
sub echo_of_its_own {
    my ($host) = @_;
    my $context = EV::Websockets::Context->new;
    my ($echo, $error);
    my $port = $context->listen(on_message => sub { $_[0]->send("echo of $_[1]") });
    $context->connect(
        url        => "ws://$host:$port/",
        on_connect => sub { $_[0]->send('the child') },
        on_message => sub { $echo = $_[1] },
        on_error   => sub { $error = $_[1] },
    );
    wait_until(sub { $echo || $error });
    die "$error\n" if $error;
    return $echo && $echo eq 'echo of the child';
}

subtest 'before any name was resolved' => sub {
    my $pair = Pair->open;
    in_child('own context', sub { delete $pair->{context}; echo_of_its_own('127.0.0.1') });
    goes_on($pair, 'own context');
    in_child('own context by name', sub { delete $pair->{context}; echo_of_its_own('localhost') });
    goes_on($pair, 'own context by name');
};

subtest 'what a child may do to its copies' => sub {
    my $pair = Pair->open;
    in_child('_exit', sub { 1 });
    goes_on($pair, '_exit');
    in_child('exit', sub { 1 }, 'exit');
    goes_on($pair, 'exit');
    in_child('destroy the context', sub { delete $pair->{context}; 1 });
    goes_on($pair, 'destroy the context');
    in_child('destroy all and exit', sub { undef $pair; 1 }, 'exit');
    goes_on($pair, 'destroy all and exit');
    in_child('send, then destroy the context', sub {
        $_->send('of the child') for $pair->c, $pair->s;
        delete $pair->{context};
        1;
    });
    goes_on($pair, 'send, then destroy the context');
    in_child('close, then destroy the context', sub {
        $_->close(1001, 'of the child') for $pair->c, $pair->s;
        delete $pair->{context};
        1;
    });
    goes_on($pair, 'close, then destroy the context');

    # A new client can still be accepted: the listener is the parent's, too.
    my $late = 0;
    $pair->context->connect(url => 'ws://127.0.0.1:' . $pair->port . '/', on_connect => sub { $late = 1 });
    run_until(sub { $late }, 'the listener goes on');
};

subtest 'bytes queued before the fork are sent by the parent alone' => sub {
    my $pair = Pair->open;
    $pair->s->send('queued');
    in_child('destroy the context', sub { delete $pair->{context}; 1 });
    run_until(sub { $pair->client->count('message') }, 'they arrive');
    settle();
    is_deeply [$pair->client->messages], ['queued'], 'once';
};

subtest 'a peer that counts bytes' => sub {
    my ($context, $conn) = EV::Websockets::Context->new;
    my $port = $context->listen(on_connect => sub { $conn = $_[0] });
    my $raw = RawPeer->connect($port);
    $raw->upgrade;
    run_until(sub { $conn && $raw->head }, 'a raw client is connected');
    in_child('destroy the context', sub { $conn->send('of the child'); undef $conn; undef $context; 1 });
    in_child('exit', sub { 1 }, 'exit');
    settle();
    is $raw->rest, '', 'the children sent nothing';
    ok !$raw->eof, 'and ended nothing';
    $conn->send('of the parent');
    run_until(sub { @{ $raw->frames } }, 'the parent goes on');
    is_deeply [map { $_->{payload} } @{ $raw->frames }], ['of the parent'], 'with its own';
};

subtest 'after a name was resolved' => sub {
    my $pair = Pair->open;
    my $done;
    my $named = $pair->context->connect(
        url        => 'ws://localhost:' . $pair->port . '/',
        on_connect => sub { $done = 'connected' },
        on_error   => sub { $done = $_[1] },
    );
    run_until(sub { $done }, 'localhost was resolved in the parent');
    is $done, 'connected', 'and connected to';
    for my $how (qw(_exit exit)) {
        in_child("resolves again, $how", sub { delete $pair->{context}; echo_of_its_own('localhost') }, $how);
        goes_on($pair, "resolves again, $how");
    }
    in_child('a grandchild', sub {
        delete $pair->{context};
        echo_of_its_own('localhost') or return;
        my $pid = fork;
        if (!$pid) { POSIX::_exit(eval { echo_of_its_own('localhost') } ? 0 : 1) }
        waitpid $pid, 0;
        return $? == 0;
    });
    goes_on($pair, 'a grandchild');
};

subtest 'forked while a name is being resolved' => sub {
    # AddressSanitizer's own malloc has no pthread_atfork: a child can find it locked by a thread that it has not got.
    plan skip_all => 'malloc of AddressSanitizer' if ($ENV{LD_PRELOAD} || '') =~ /asan/;
    my $pair = Pair->open;
    my @done;
    $pair->context->connect(
        url        => 'ws://localhost:' . $pair->port . '/',
        on_connect => sub { push @done, 'connected' },
        on_error   => sub { push @done, $_[1] },
    ) for 1 .. 5;
    # One turn, in which the questions are on their way.
    EV::run(EV::RUN_NOWAIT);
    in_child('own context', sub { delete $pair->{context}; echo_of_its_own('localhost') });
    run_until(sub { @done == 5 }, 'the parent gets all its answers');
    is_deeply \@done, [('connected') x 5], 'and connects';
};

subtest 'in a callback' => sub {
    my ($context, @got) = EV::Websockets::Context->new;
    my $port = $context->listen(on_message => sub { push @got, $_[1] });
    my $conn;
    $conn = $context->connect(
        url        => "ws://127.0.0.1:$port/",
        on_connect => sub {
            $_[0]->send('before');
            in_child('destroy all', sub { undef $conn; undef $context; 1 });
            in_child('exit', sub { 1 }, 'exit');
            $_[0]->send('after');
        },
    );
    run_until(sub { @got >= 2 }, 'the parent goes on');
    settle();
    is_deeply \@got, [qw(before after)], 'each message once';
};

# A child that was forked in on_request or on_handshake and left with exit answered the parent's
# client on the way out: 500 or 403, and for an upgrade that was the end of the connection.
subtest 'in a callback that is asked for an answer' => sub {
    my $context = EV::Websockets::Context->new;
    my @kept;
    my $port = $context->listen(
        on_request => sub {
            in_child('exit in on_request', sub { 1 }, 'exit');
            return [200, ['Connection' => 'close'], ["of the parent\n"]];
        },
        on_handshake => sub {
            my ($headers, $handshake) = @_;
            in_child('exit in on_handshake', sub { 1 }, 'exit');
            in_child('a handshake dropped', sub { undef $handshake; @_ = (); 1 }, 'exit');
            push @kept, $handshake;
            in_child('a handshake kept', sub { 1 }, 'exit');
            return 1;
        },
    );
    my $asking = HttpPeer->connect($port);
    $asking->ask(GET => '/');
    run_until(sub { $asking->eof }, 'a request is answered');
    is_deeply [map { $_->{body} } $asking->responses], ["of the parent\n"], 'once, by the parent';
    my $upgrading = RawPeer->connect($port);
    $upgrading->upgrade;
    run_until(sub { $upgrading->head || $upgrading->eof }, 'a handshake is decided');
    like $upgrading->head, qr{\AHTTP/1\.1 101 }, 'by the parent';
};

# What a server does that goes into the background: the context is the child's then, and so are
# its clients. A handshake that the child dropped was never answered.
subtest 'a child that goes on with the context' => sub {
    my $context = EV::Websockets::Context->new;
    my $port = $context->listen(on_handshake => sub { $_[1] }, on_request => sub { die "no page\n" });
    my ($handshake, $request) = map { RawPeer->connect($port) } 1, 2;
    $handshake->upgrade;
    $request->put("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    in_child('the child answers', sub {
        EV::default_loop->loop_fork;
        local $SIG{__WARN__} = sub { };
        wait_until(sub { $handshake->eof && $request->eof });
        return join(' ', map { $_->status } $handshake, $request) eq '500 500';
    });
};

# The generator of the handshake's keys was the process's, and a forked child went on with its
# parent's state: both sent the same Sec-WebSocket-Key next.
subtest 'a child has keys of its own' => sub {
    my $key_of_a_client = sub {
        my $context = EV::Websockets::Context->new;
        my ($key, $open);
        my $port = $context->listen(on_handshake => sub { ($key) = map { $_[0]{$_} } grep { /\ASec-WebSocket-Key\z/i } keys %{ $_[0] }; 1 });
        $context->connect(url => "ws://127.0.0.1:$port/", on_connect => sub { $open = 1 });
        wait_until(sub { $open });
        return $key;
    };
    my %seen = ($key_of_a_client->() => 1);
    pipe my $in, my $out or die "pipe: $!";
    in_child('a client of the child', sub { syswrite $out, $key_of_a_client->() });
    close $out;
    $seen{$_}++ for <$in>, $key_of_a_client->();
    is_deeply [ map { length } keys %seen ], [ 24, 24, 24 ], 'three keys, and all differ';
};

finish;
