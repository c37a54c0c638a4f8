use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use EV;
use Adopt ();
use EV::Websockets;
use Leaks;
use RawPeer;
use RawServer;
use Run;
use Stage;
use Test::LeakTrace qw(leaked_count);

# No Perl value is left behind, whatever a callback does.

# The tracing itself has to be able to see a leak.
is leaked_count(sub { my $cycle = []; push @$cycle, $cycle }) > 0, 1, 'a leak would be seen';

# What is EV's own is none: on a busy machine a timer of the test itself fired for the first time in the run that counts.
{
    my $runs = 0;
    leaks_nothing('the first callback of EV', sub {
        my $done = ++$runs < 4;
        my $timer = EV::timer(0, 0, sub { $done = 1 });
        EV::run(EV::RUN_ONCE) until $done;
    });
}

sub stage {
    my ($case, $action, $until) = @_;
    my ($callback, $role) = @$case;
    my $stage = Stage->new(callback => $callback, role => $role, action => $action);
    $stage->play($until ? sub { $until->($stage) } : ()) or die "$callback ($role) did not end\n";
    delete @$stage{qw(conn ours theirs their_conn)};
    return;
}

for my $case (Stage::cases()) {
    my $where = join ', ', @$case;
    my $over = sub { $_[0]->they_are_over && $_[0]{acted} };
    leaks_nothing("a conversation: $where", sub { stage($case, sub { }) });
    leaks_nothing("die: $where", sub {
        stage($case, sub { die "thrown on purpose\n" }, $case->[0] eq 'handshake' ? $over : undef);
    });
    leaks_nothing("context destroyed: $where", sub { stage($case, sub { delete $_[0]{ours} }, $over) });
    leaks_nothing("all dropped: $where", sub { stage($case, sub { delete @{ $_[0] }{qw(conn ours)} }, $over) });
    leaks_nothing("close: $where", sub {
        stage($case, sub { $_[1]->close(1001, 'enough') if $_[0]{callback} ne 'handshake' });
    });
    leaks_nothing("nested: $where", sub {
        stage($case, sub { my $timer = EV::timer(0.002, 0, sub { EV::break }); EV::run });
    });
}

# Options of every kind, echoes of every kind, headers, subprotocol, stash.
leaks_nothing('echoes with all options', sub {
    my $context = EV::Websockets::Context->new(loop => EV::default_loop);
    my $port = $context->listen(
        name => 'echo', protocol => 'a, b', headers => { 'X-A' => '1' }, max_message_size => 1_000_000,
        on_handshake => sub { return { 'X-Path' => $_[0]{Path} } },
        on_message   => sub { my ($c, $m, $binary) = @_; $binary ? $c->send_binary($m) : $c->send($m) },
    );
    my ($echoes, $closed) = (0, 0);
    my $conn = $context->connect(
        url => "ws://127.0.0.1:$port/p?q", protocol => ['b', 'c'], connect_timeout => 60,
        headers    => { 'X-B' => ['1', '2'], 'X-C' => '3' },
        on_connect => sub {
            my ($c) = @_;
            $c->stash->{n} = $c->get_protocol . $c->peer_address;
            $c->send('text');
            $c->send_binary('x' x 70_000);
            $c->send_fragment('a', 0, 0);
            $c->send_fragment('b', 0, 1);
            $c->send("wide \x{263a}");
            $c->send('');
        },
        on_message => sub { $_[0]->close(4000, 'r') if ++$echoes == 5 },
        on_close   => sub { $closed = "$_[1] $_[2]" },
    );
    wait_until(sub { $closed });
    my @open = $context->connections;
});

leaks_nothing('adopted sockets: accepted, refused, upgraded before, in a PSGI environment', sub {
    my $context = EV::Websockets::Context->new;
    my $request = Adopt::request();
    my ($open, $over) = (0, 0);
    my %count = (on_connect => sub { $_[0]->send($open++) }, on_close => sub { $over++ }, on_error => sub { $over++ });
    my @far;
    for my $options (
        [ initial_data => $request, protocol => 'a', headers => { 'X-A' => 1 }, on_handshake => sub { 1 }, origins => [qr{x}] ],
        [ initial_data => $request, on_handshake => sub { 0 } ],
        [ initial_data => substr $request, 0, 20 ],
        [ upgraded => 1 ],
        [ role => 'client', protocol => 'b' ],
        [ env => {
            REQUEST_METHOD => 'GET', SERVER_PROTOCOL => 'HTTP/1.1', PATH_INFO => '/', HTTP_HOST => 'h',
            HTTP_UPGRADE => 'websocket', HTTP_CONNECTION => 'upgrade', HTTP_SEC_WEBSOCKET_VERSION => 13,
            HTTP_SEC_WEBSOCKET_KEY => 'dGhlIHNhbXBsZSBub25jZQ==' } ],
    ) {
        my ($near, $far) = Adopt::unix_pair();
        push @far, $far;
        $context->adopt(fh => $near, @$options, %count);
        eval { $context->adopt(fh => $near, initial_data => "\0", on_connect => sub { $near }) };
        eval { $context->adopt(fh => $near, on_connect => sub { $near }, on_close => 1) };
    }
    wait_until(sub { $open == 4 && $over == 1 });
    @far = ();
    wait_until(sub { $over == 6 });
});

leaks_nothing('listeners that stop, connections that are aborted, a shutdown', sub {
    my $context = EV::Websockets::Context->new;
    my ($held, $over, $cut) = ([], 0);
    my $port = $context->listen(
        host => [ '127.0.0.1', 'localhost' ], backlog => 5, reuse_port => 1, name => 'n',
        on_connect => sub { $_[0]->send("$held"); $_[0]->abort },
        on_close   => sub { $over++ },
    );
    $context->listen(host => '127.0.0.1', reuse_port => 1, on_message => sub { $held });
    my @listeners = $context->listeners;
    my %ends = (on_error => sub { $over++ }, on_close => sub { $over++ });
    $context->stop_listening($context->listen(on_message => sub { $held }));
    $context->connect(url => "ws://127.0.0.1:$port/", %ends);
    $context->connect(url => "ws://127.0.0.1:$port/", %ends)->abort;
    wait_until(sub { $over == 3 });
    eval { $context->stop_listening('nowhere') };
    eval { $context->listen(host => $_, on_message => sub { $held }) } for [], [''], { }, [ '127.0.0.1', '192.0.2.1' ];
    eval { $context->listen(fd => $_, on_message => sub { $held }) } for -1, 4000, {};
    eval { $context->shutdown(@$_, cb => sub { $held }) } for [ code => 1 ], [ timeout => 'soon' ], [ reason => [] ];
    $context->shutdown(timeout => 30, reason => 'r', cb => sub { $cut = "$held" });
    $context->shutdown;
    wait_until(sub { defined $cut });
    $context->shutdown(cb => sub { $held });
});

leaks_nothing('a rejected handshake', sub {
    my $context = EV::Websockets::Context->new;
    my $port = $context->listen(on_handshake => sub { 0 });
    my $error;
    $context->connect(url => "ws://127.0.0.1:$port/", on_error => sub { $error = $_[1] });
    wait_until(sub { $error });
});

leaks_nothing('headers of a handshake that cannot be sent', sub {
    my $context = EV::Websockets::Context->new;
    my $port = $context->listen(on_handshake => sub { return { "X-A" => "1\r\nX-B: 2" } });
    my $error;
    $context->connect(url => "ws://127.0.0.1:$port/", on_error => sub { $error = $_[1] });
    wait_until(sub { $error });
});

leaks_nothing('a refused connection', sub {
    my $context = EV::Websockets::Context->new;
    my $error;
    $context->connect(url => 'ws://127.0.0.1:' . RawServer::unused_port() . '/', on_error => sub { $error = $_[1] });
    wait_until(sub { $error });
});

leaks_nothing('a name that is resolved', sub {
    my $context = EV::Websockets::Context->new;
    my $port = $context->listen;
    my $done;
    $context->connect(url => "ws://localhost:$port/", on_connect => sub { $done = 1 }, on_error => sub { $done = 1 });
    wait_until(sub { $done });
});

leaks_nothing('a context destroyed while a name is being resolved', sub {
    my $context = EV::Websockets::Context->new;
    my $conn = $context->connect(url => 'ws://localhost:1/', on_error => sub { });
    my $turn = 0;
    my $timer = EV::timer(0, 0, sub { $turn = 1 });
    wait_until(sub { $turn });
});

leaks_nothing('a deadline', sub {
    my $server = RawServer->new(answer => sub { });
    my $context = EV::Websockets::Context->new;
    my $error;
    $context->connect(url => 'ws://127.0.0.1:' . $server->port . '/', connect_timeout => 0.05,
        on_error => sub { $error = $_[1] });
    wait_until(sub { $error });
});

leaks_nothing('a peer that breaks the protocol', sub {
    my $context = EV::Websockets::Context->new;
    my $closed;
    my $port = $context->listen(on_close => sub { $closed = $_[1] });
    my $raw = RawPeer->connect($port);
    $raw->upgrade->put("\xff\xff\xff\xff\xff\xff\xff\xff");
    wait_until(sub { $closed && $raw->eof });
});

leaks_nothing('croaks', sub {
    my $context = EV::Websockets::Context->new;
    my $port = $context->listen;
    my $conn = $context->connect(url => "ws://127.0.0.1:$port/");
    for my $bad (
        sub { $context->connect },
        sub { $context->connect('url') },
        sub { $context->connect(url => 'http://x/') },
        sub { $context->connect(url => 'ws://127.0.0.1:99999/') },
        sub { $context->connect(url => 'ws://127.0.0.1/', headers => { 'X-A' => "1\n" }) },
        sub { $context->connect(url => 'ws://127.0.0.1/', on_message => 'not code') },
        sub { $context->connect(url => 'ws://127.0.0.1/', headers => { 'X-A' => [1, "2\0"], 'X-B' => 1 }) },
        sub { $context->listen(name => undef) },
        sub { $context->listen(name => 'default') },
        sub { $context->listen(on_connect => sub { }, ssl_cert => 'x') },
        sub { $context->listen(origins => [ qr/a/, '*', 'x' ]) },
        sub { $context->listen(origins => [ qr/a/, undef ]) },
        sub { $context->listen(on_request => sub { }, handshake_timeout => 'x') },
        sub { $context->adopt },
        sub { $conn->send('x') },
        sub { $conn->close(999) },
    ) {
        die "lived\n" if eval { $bad->(); 1 };
    }
});

leaks_nothing('a paused connection with messages unread', sub {
    my $context = EV::Websockets::Context->new;
    my ($count, $sent) = (0, 0);
    my $port = $context->listen(
        on_connect => sub { $_[0]->send("message $_") for 1 .. 20 },
        on_drain   => sub { $sent = 1 },
    );
    my $conn = $context->connect(
        url        => "ws://127.0.0.1:$port/",
        on_message => sub { $_[0]->pause_recv if ++$count == 3 },
    );
    wait_until(sub { $sent && $count == 3 });
});

# Requests that are no upgrade, and handshakes, whatever becomes of them.
sub asked {
    my ($what, $upgrade, %options) = @_;
    leaks_nothing($what, sub {
        my $context = EV::Websockets::Context->new;
        my $port = $context->listen(%options);
        my $peer = RawPeer->connect($port);
        $upgrade ? $peer->upgrade(headers => { Origin => 'https://a.example', 'Sec-WebSocket-Protocol' => 'a, b' })
            : $peer->put("POST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody");
        wait_until(sub { defined $peer->head });
    });
    return;
}
for my $case (
    [ 'a page',       sub { [ 200, [ 'X-A' => 1 ], [ 'a', 'b' ] ] } ],
    [ 'a die',        sub { die "thrown on purpose\n" } ],
    [ 'no response',  sub { [ 200, [ 'X-A', 1, 'X-B' ], [] ] } ],
    [ 'a bad header', sub { [ 200, [ 'X-A', "\n" ], ['x'] ] } ],
    [ 'a bad body',   sub { [ 200, [ 'X-A', 1 ], [ 'a', "\x{263A}" ] ] } ],
) {
    asked("on_request: $case->[0]", 0, on_request => $case->[1]);
}
my $timer;
for my $case (
    [ 'a response',     sub { [ 401, [ 'X-A' => 1 ], ['who?'] ] } ],
    [ 'no response',    sub { [ 401, [ 'X-A', 1, 'X-B' ], [] ] } ],
    [ 'accept inside',  sub { $_[1]->protocol('b'); $_[1]->accept({ 'X-A' => 1 }); 1 } ],
    [ 'two picks',      sub { $_[1]->protocol($_) for qw(b a); my @all = $_[1]->protocols; $_[1]->reject } ],
    [ 'accept later',   sub { my $it = $_[1]; $timer = EV::timer(0, 0, sub { undef $timer; $it->accept }); $it } ],
    [ 'reject later',   sub { my $it = $_[1]; $timer = EV::timer(0, 0, sub { undef $timer; $it->reject(404) }); $it } ],
    [ 'dropped later',  sub { my $it = $_[1]; $timer = EV::timer(0, 0, sub { undef $timer; undef $it }); $it } ],
    [ 'dropped',        sub { $_[1] } ],
    [ 'bad arguments',  sub { eval { $_[1]->reject(404, [ 'X-A' => "\n" ]) }; eval { $_[1]->protocol('c') }; 0 } ],
    [ 'its questions',  sub { my $it = $_[1]; $it->headers->{Self} = 'x'; $_[0]{Also} = $it->peer_address; 1 } ],
) {
    asked("on_handshake: $case->[0]", 1, on_handshake => $case->[1]);
}
asked('origins', 1, origins => [ 'https://a.example', qr/b/ ]);
asked('origins: a pattern', 1, origins => [qr/a/]);
asked('origins: refused by a pattern', 1, origins => [qr/b/], on_handshake => sub { 1 });

# One message for many: whatever is prepared, published, subscribed to and kept, and whoever leaves in whatever way.
{
    package BackEnd;
    sub new { return bless {}, $_[0] }
    sub publish { return [ $_[1], $_[2] ] }
    sub topic_used { return 1 }
    sub topic_unused { return 1 }
    sub resume { return 1 }
}
for my $way (qw(unsubscribe close abort peer drop context)) {
    leaks_nothing("subscribers that leave by $way", sub {
        my $context = EV::Websockets::Context->new;
        my (@conns, $dropped);
        my $port = $context->listen(max_send_queue => 1000, send_queue_policy => 'drop', on_connect => sub { push @conns, $_[0] }, on_drop => sub { $dropped += $_[1] });
        my @peers = map { RawPeer->connect($port)->upgrade } 1, 2;
        wait_until(sub { @conns == 2 });
        my $message = $context->prepare('x' x 600, compress => 0);
        $context->topic('h', history => 3, max_age => 60, frame => sub { "$_[0] $_[1] $_[2]" });
        my $start = $context->position('h');
        for my $round (1 .. 10) {
            $_->subscribe("t$round", on_slow => $round % 2 ? 'drop_old' : 'latest') for @conns;
            $context->publish("t$round", $message, key => "k$round", except => $conns[1]) for 1 .. 3;
            $context->publish('h', "m$round");
            $context->broadcast($message, \@conns);
            $context->broadcast('y', to => "t$round");
        }
        $conns[0]->subscribe('h', since => $_) for $start, $context->position('h'), [ 'x', 'y' ];
        my @asked = ($context->topics, $conns[0]->topics, $context->subscribers('h'), $context->stats, $conns[0]->stats);
        wait_until(sub { $dropped }) or die "nothing was dropped\n";
        if    ($way eq 'unsubscribe') { for my $conn (@conns) { $conn->unsubscribe($_) for $conn->topics } }
        elsif ($way eq 'close')       { $_->close for @conns }
        elsif ($way eq 'abort')       { $_->abort for @conns }
        elsif ($way eq 'peer')        { $_->hang_up(reset => 1) for @peers; wait_until(sub { !grep { $_->state eq 'connected' } @conns }) }
        elsif ($way eq 'drop')        { @conns = () }
        else                          { $context->publish('t1', $message); $context->DESTROY }
        $context->topic('h') if $way ne 'context';
    });
}
leaks_nothing('back ends', sub {
    my $context = EV::Websockets::Context->new;
    my $conn;
    my $port = $context->listen(on_connect => sub { $conn = $_[0] });
    my $peer = RawPeer->connect($port)->upgrade;
    wait_until(sub { $conn });
    for (1 .. 3) {
        $context->set_backplane(BackEnd->new);
        $conn->subscribe('t', since => [ 'x', 1 ]);
        $context->publish('t', 'x', key => 'k');
        $context->publish('t', "\xE9", utf8 => 1, compress => 0, key => 'k', except => $conn);
        $context->topic('t', history => 1, max_age => 1);
        for my $bad ([ only => $conn ], [ position => [ 'x', 1 ] ], [ key => "\x{100}" ], [ except => [] ], [ frame => [] ]) {
            die "lived\n" if eval { $context->publish('t', 'x', @$bad); 1 };
        }
        $context->publish('t', 'x', local => 1);
        EV::run(EV::RUN_NOWAIT);
        $conn->unsubscribe('t');
        EV::run(EV::RUN_NOWAIT);
    }
});
leaks_nothing('croaks about topics and prepared messages', sub {
    my $context = EV::Websockets::Context->new;
    my $conn;
    my $port = $context->listen(on_connect => sub { $conn = $_[0] });
    my $peer = RawPeer->connect($port)->upgrade;
    wait_until(sub { $conn });
    my ($held, $other) = ([], EV::Websockets::Context->new->prepare('x'));
    $context->topic('h', history => 2, frame => sub { die [$held] });
    for my $bad (
        sub { $context->prepare({ held => $held }) },
        sub { $context->prepare('x', binary => 1, nothing => $held) },
        sub { $context->publish('t', $other) },
        sub { $context->publish('h', 'x') },
        sub { $context->publish('h', 'x', frame => sub { [$held] }) },
        sub { $context->publish('t', "\x{100}", binary => 1) },
        sub { $context->broadcast('x', [ $conn, $held ]) },
        sub { $context->broadcast($context->prepare('x'), [$conn], binary => 1) },
        sub { $context->topic('t', history => $held) },
        sub { $context->topic('t', frame => $held) },
        sub { $context->set_backplane($held) },
        sub { $conn->subscribe('t', since => $held, on_slow => 'never') },
        sub { $conn->subscribe("\x{100}") },
        sub { $conn->send($other) },
    ) {
        die "lived\n" if eval { $bad->(); 1 };
    }
});

leaks_nothing('contexts and nothing else', sub {
    for (1 .. 10) {
        my $context = EV::Websockets::Context->new;
        $context->listen;
    }
});

finish;
