package Interop;

# One conversation, held with every implementation in both roles.
#
# The peer is an agent that does what its messages tell it (the list stands in
# t/lib/PerlPeer.pm); our side always leads. So what is checked is written once,
# in converse() and farewells(), and a test file only says how its peer is
# reached.

use strict;
use warnings;

use Exporter qw(import);
use File::Basename qw(dirname);
use File::Spec;
use POSIX ();
use Test::More;

use EV::Websockets;
use Interop::Child;
use Interop::Talk;
use Run;

our @EXPORT_OK = qw(await our_client our_server both_roles peer_python peer_node);

use constant MiB => 1024 * 1024;

my $ROOT = File::Spec->rel2abs(File::Spec->catdir(dirname(__FILE__), '..', '..'));

# Runs the loop until the peer has done what the conversation needs to go on.
sub await {
    my ($condition, $what) = @_;
    wait_until($condition) or die "timed out: $what\n";
    return;
}

# ---- the peers that live in another process ----

# Where script/bootstrap puts them; EVWS_TOOLS names another folder of that layout.

sub _tools { return $ENV{EVWS_TOOLS} || File::Spec->catdir($ROOT, 'tmp', 'tools') }

sub _succeeds {
    my (@command) = @_;
    my $pid = fork;
    die "fork: $!" unless defined $pid;
    if (!$pid) {
        open STDOUT, '>', File::Spec->devnull;
        open STDERR, '>', File::Spec->devnull;
        { no warnings 'exec'; exec { $command[0] } @command }
        POSIX::_exit(127);
    }
    waitpid $pid, 0;
    return $? == 0;
}

sub _peer_program { return File::Spec->catfile($ROOT, 't', 'peers', $_[0]) }

# The command that runs the Python peer (or another program of t/peers), or
# nothing when `websockets` is not there.
sub peer_python {
    my ($program) = (@_, 'peer.py');
    for my $python (File::Spec->catfile(_tools(), 'venv', 'bin', 'python'), 'python3') {
        return ($python, _peer_program($program))
            if _succeeds($python, '-c', 'import websockets.asyncio.server, websockets.asyncio.client');
    }
    return;
}

# The same for Node and `ws`.
sub peer_node {
    my ($program) = (@_, 'peer.js');
    local $ENV{NODE_PATH} = join ':', File::Spec->catdir(_tools(), 'node_modules'),
        defined $ENV{NODE_PATH} ? $ENV{NODE_PATH} : ();
    for my $node ('node', 'nodejs') {
        next unless _succeeds($node, '-e', 'require("ws")');
        return ('env', "NODE_PATH=$ENV{NODE_PATH}", $node, _peer_program($program));
    }
    return;
}

# ---- our side ----

# Names and headers of every handshake here: v2.interop is the only name both
# sides know, and it is neither the client's nor the server's first.
our @OFFERED = qw(v3.interop v2.interop);
our @ALLOWED = qw(v1.interop v2.interop);

sub connect_to {
    my ($context, $url, %more) = @_;
    return Interop::Talk->connect(
        $context,
        url      => $url,
        protocol => [@OFFERED],
        headers  => { 'X-Interop' => 'from ours' },
        %more,
    );
}

# A listener whose connections come out of accept(), one after the other.
sub accept_on {
    my ($context, %more) = @_;
    return Interop::Talk::Listener->new(
        $context,
        protocol     => join(', ', @ALLOWED),
        headers      => { 'X-Interop' => 'from ours' },
        on_handshake => sub { $_[0]{Path} ne '/forbidden' },
        %more,
    );
}

# Our client against a peer's server. $closed->() gives the peer's next report
# of how a connection ended, as [code, reason].
sub our_client {
    my ($name, $base, $closed) = @_;
    subtest "our client, server: $name" => sub {
        my $context = EV::Websockets::Context->new;
        my $open = sub { connect_to($context, "$base/talk?x=1") };

        my $talk = $open->();
        is $talk->{error}, undef, 'connected';
        is $talk->header('X-Interop'), "from $name", 'its header arrived';
        my $hello = greet($talk, 'from ours');
        is $hello->{peer}, $name, 'talks to the peer that it should';
        converse($talk);
        farewells($talk, $open, $closed);

        my $forbidden = connect_to($context, "$base/forbidden");
        like $forbidden->{error}, qr/403/, 'its refusal is reported with its status';
        is $forbidden->state, 'closed', 'and the connection is closed';

        $talk = $open->();
        greet($talk, 'from ours');
        undef $context;
        is_deeply $closed->(), [1006, ''], 'a destroyed context ends the connection without a Close';
        is $talk->{closes}, 0, 'of which our side is told nothing';
    };
    return;
}

# Our server against a peer's client. $start->($url, ...) makes the peer connect
# to the URLs in turn, each when the one before has ended; $offers says what its
# Sec-WebSocket-Extensions looks like. listen => [...] has a certificate, for wss;
# adopt => $code gives what listens in place of the context that it is called with.
sub our_server {
    my ($name, $start, $closed, $offers, %quirk) = @_;
    subtest "our server, client: $name" => sub {
        my $context = EV::Websockets::Context->new;
        my $listen = delete $quirk{listen};
        my $adopt = delete $quirk{adopt};
        my $server = $adopt ? $adopt->($context) : $context;
        my $listener = accept_on($server, @{ $listen || [] });
        my $base = ($listen ? 'wss' : 'ws') . '://127.0.0.1:' . $listener->{port};
        $start->(("$base/talk%20to?x=%31") x 5, "$base/forbidden", "$base/last");

        my $next = sub { $listener->accept };
        my $talk = $next->();
        is $talk->header('X-Interop'), "from $name", 'its header arrived';
        is $talk->header('Path'), '/talk to', 'path, decoded';
        is $talk->header('Query'), 'x=%31', 'query, raw';
        is $talk->{conn}->peer_address, '127.0.0.1', 'address';
        like $talk->header('Sec-WebSocket-Extensions'), $offers, 'it offered compression'
            if $offers;
        my $hello = greet($talk, 'from ours');
        is $hello->{extensions}, '', 'and was answered without' if $offers;
        is $hello->{peer}, $name, 'talks to the peer that it should';
        converse($talk, %quirk);
        farewells($talk, $next, $closed, %quirk);

        is_deeply $closed->(), ['403', ''], 'a rejected handshake is a 403 to it';

        $talk = $next->();
        greet($talk, 'from ours');
        undef $server;
        undef $context;
        is_deeply $closed->(), [1006, ''], 'a destroyed context ends the connection without a Close';
        is $talk->{closes}, 0, 'of which our side is told nothing';
    };
    return;
}

# Both roles, with a peer in a process of its own, which the command runs. With
# listen => [...] over TLS.
sub both_roles {
    my ($name, $command, %quirk) = @_;
    {
        my $server = Interop::Child->new(@$command, 'server');
        my ($port) = $server->next_line('port');
        my $scheme = $quirk{listen} ? 'wss' : 'ws';
        our_client($name, "$scheme://127.0.0.1:$port", sub { $server->closed });
    }
    my $client;
    our_server(
        $name,
        sub { $client = Interop::Child->new(@$command, 'client', @_) },
        sub { $client->closed },
        qr/permessage-deflate/,
        %quirk,
    );
    return;
}

# The peer's first message says what it saw of the handshake.
sub greet {
    my ($talk, $header) = @_;
    my ($text) = $talk->next_message;
    my %hello = map { split /=/, $_, 2 } split /\n/, $text;
    is $hello{'x-interop'}, $header, 'it got our header';
    is $hello{protocol}, 'v2.interop', 'it saw the subprotocol in common';
    is $talk->{conn}->get_protocol, 'v2.interop', 'and so did we';
    return \%hello;
}

# ---- what is said while the connection is open ----

sub converse {
    my ($talk, %quirk) = @_;
    subtest 'sizes, text and binary' => sub { _sizes($talk) };
    subtest 'UTF-8' => sub { _utf8($talk) };
    subtest 'our fragments' => sub { _our_fragments($talk) };
    subtest 'its fragments' => sub { _their_fragments($talk) };
    subtest 'ping and pong' => sub { _pings($talk) };
    subtest 'many in flight' => sub { _in_flight($talk) };
    return;
}

# Payloads in which a byte at a wrong place shows; prefixed so that no text is a command.
sub _payload {
    my ($length, $is_binary) = @_;
    my $unit = $is_binary ? join('', map { chr } 0 .. 250) : join('', 'a' .. 'z', 0 .. 10);
    return substr $unit x (1 + int $length / length $unit), 0, $length;
}

# is() would print a megabyte each when it fails.
sub _same {
    my ($got, $expected, $what) = @_;
    return pass $what if $got eq $expected;
    my $at = 0;
    $at++ while substr($got, $at, 1) eq substr($expected, $at, 1) && $at < length $got;
    fail $what;
    diag sprintf 'got %d bytes, expected %d, first difference at %d',
        length $got, length $expected, $at;
    return;
}

sub _sizes {
    my ($talk) = @_;
    for my $length (0, 1, 125, 126, 127, 65535, 65536, MiB) {
        for my $is_binary (0, 1) {
            my $payload = _payload($length, $is_binary);
            $is_binary ? $talk->{conn}->send_binary($payload) : $talk->{conn}->send($payload);
            my ($got, $kind) = $talk->next_message;
            my $what = ($is_binary ? 'binary' : 'text') . " of $length";
            _same($got, $payload, $what);
            is $kind, $is_binary, "$what: its kind";
        }
    }
    return;
}

sub _utf8 {
    my ($talk) = @_;
    my $characters = "Gr\x{fc}\x{df}e, \x{4e16}\x{754c} \x{1f42a} " . "\x{20ac}" x 5000;
    utf8::encode(my $octets = $characters);
    for ([octets => $octets], [characters => $characters]) {
        my ($kind, $payload) = @$_;
        $talk->{conn}->send($payload);
        my ($got) = $talk->next_message;
        _same($got, $octets, "text given as $kind");
        ok !utf8::is_utf8($got), 'comes back as bytes';
    }
    return;
}

sub _our_fragments {
    my ($talk) = @_;
    my $conn = $talk->{conn};

    utf8::encode(my $camels = "\x{1f42a}" x 3);
    $conn->send_fragment($_, 0, 0) for substr($camels, 0, 3), '', substr($camels, 3, 6);
    $conn->send_ping('between fragments');
    $conn->send_fragment(substr($camels, 9), 0, 1);
    _same(($talk->next_message)[0], $camels, 'text cut inside its characters');
    is $talk->next_pong, 'between fragments', 'with a ping in the middle';

    my $payload = _payload(200_000, 1);
    $conn->send_fragment(substr($payload, $_ * 10_000, 10_000), 1, 0) for 0 .. 19;
    $conn->send_fragment('', 1, 1);
    my ($got, $is_binary) = $talk->next_message;
    _same($got, $payload, '21 fragments of binary, the last one empty');
    is $is_binary, 1, 'binary';
    return;
}

sub _their_fragments {
    my ($talk) = @_;
    utf8::encode(my $camels = "\x{1f42a}\x{20ac}" x 2000);
    for ([0, $camels], [1, _payload(200_000, 1)], [1, '']) {
        my ($is_binary, $payload) = @$_;
        $talk->{conn}->send('!split 7');
        $is_binary ? $talk->{conn}->send_binary($payload) : $talk->{conn}->send($payload);
        my ($got, $kind, $final) = $talk->next_message;
        _same($got, $payload, 'seven fragments are one message of ' . length $payload);
        is $kind, $is_binary, 'of its kind';
        is $final, 1, 'and whole';
    }
    return;
}

sub _pings {
    my ($talk) = @_;
    for my $payload ('', 'abc', "\0\xff" x 62, 'p' x 125) {
        $talk->{conn}->send_ping($payload);
        is $talk->next_pong, $payload, 'pong to our ping of ' . length $payload;
    }
    for my $payload ('p', 'q' x 125) {
        $talk->{conn}->send("!ping $payload");
        is +($talk->next_message)[0], "pong $payload", 'our pong to its ping of ' . length $payload;
    }
    return;
}

sub _in_flight {
    my ($talk) = @_;
    my @sent = map { "$_:" . 'x' x ($_ * 7 % 300) } 1 .. 2000;
    $talk->{conn}->send($_) for @sent;
    my @got = map { ($talk->next_message)[0] } @sent;
    is_deeply \@got, \@sent, '2000 echoes in order';

    $talk->{conn}->send('!burst 3000');
    @got = map { ($talk->next_message)[0] } 1 .. 3000;
    is_deeply \@got, [0 .. 2999], '3000 messages of its own in order';
    is $talk->unread, 0, 'and nothing else';
    return;
}

# ---- how connections end ----

# $open->() gives the next connection; each is ended in another way.
sub farewells {
    my ($talk, $open, $closed, %quirk) = @_;
    utf8::encode(my $reason = "fin \x{2603}");
    my $expect = sub {
        my ($what, $ours, $theirs) = @_;
        is_deeply $talk->next_close, $ours, "$what: our on_close";
        is_deeply $closed->(), $theirs, "$what: what it saw" if $theirs;
        is $talk->{closes}, 1, "$what: once";
        is $talk->state, 'closed', "$what: state";
        return;
    };
    my $fresh = sub { $talk = $open->(); greet($talk, 'from ours') };

    $talk->{conn}->close(4001, $reason);
    is $talk->state, 'closing', 'closing until the peer answers';
    $expect->('we close', $quirk{close_answer} || [4001, $reason], [4001, $reason]);

    $fresh->();
    $talk->{conn}->send("!close 4002 $reason");
    $expect->('it closes', [4002, $reason]);
    is $closed->()[0], 4002, 'it closes: our answer repeats its code';

    $fresh->();
    $talk->{conn}->send('!close 1005');
    $expect->('it closes without a code', [1005, undef]);
    $closed->();

    $fresh->();
    $talk->{conn}->send('echoed first');
    $talk->{conn}->send('!close 1000 after a message');
    $expect->('it closes behind a message', [1000, 'after a message']);
    is +($talk->next_message)[0], 'echoed first', 'which was delivered';
    $closed->();

    $fresh->();
    $talk->{conn}->send('!abort');
    $expect->('it vanishes', [1006, undef]);
    $closed->();
    return;
}

1;
