use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Certificates;
use EV;
use EV::Websockets;
use Events;
use Frame;
use OpenSSLPeer;
use Pair;
use POSIX ();
use RawPeer;
use RawServer;
use Run;

# Against openssl s_client and s_server, with the frames made by the test.

my $made = Certificates->new;
$made->ca('ca');
$made->issue("server_$_", issuer => 'ca', kind => $_) for qw(ec rsa ed25519);
$made->ca('middle', issuer => 'ca');
$made->issue('below', issuer => 'middle');
$made->issue('client', issuer => 'ca');
$made->issue('self', issuer => 'self');
my $ca = $made->file('ca.pem');

# Upgrades, and says something both ways.
sub converse {
    my ($peer, $server) = @_;
    my $raw = $peer->{raw};
    $server->forget;
    $raw->upgrade;
    run_until(sub { defined $raw->head && $server->count('connect') }, 'upgraded') or diag $peer->said;
    is $raw->status, 101, 'with 101';
    $raw->send_frame(TEXT, 'to the server');
    $server->conn->send('to the client');
    run_until(sub { $server->count('message') && @{ $raw->frames } }, 'a message each way');
    is_deeply [$server->messages], ['to the server'], 'ours';
    is $raw->frames->[0]{payload}, 'to the client', 'theirs';
    return;
}

subtest 'versions and keys, openssl as client' => sub {
    for my $case (['ec', '-tls1_2'], ['ec', '-tls1_3'], ['rsa', '-tls1_2'], ['rsa', '-tls1_3'], ['ed25519', '-tls1_3']) {
        my ($kind, $version) = @$case;
        subtest "$kind $version" => sub {
            my $pair = Pair->listen(listen => { $made->listen_with("server_$kind") });
            my $peer = OpenSSLPeer->client($made, $pair->port, $ca, $version);
            converse($peer, $pair->server);
            $peer->{raw}->send_close(1000);
            run_until(sub { $pair->server->count('close') && $peer->{raw}->eof }, 'closed, and the TLS session with it');
            is $pair->server->last_of('close')->[0], 1000, 'cleanly';
            $peer->stop;
        };
    }
};

subtest 'forms of a key file' => sub {
    $made->openssl(qw(rsa -traditional -in server_rsa.key -out pkcs1.key));
    $made->openssl(qw(ec -in server_ec.key -out sec1.key));
    like $made->read('pkcs1.key'), qr/BEGIN RSA PRIVATE KEY/, 'PKCS#1';
    like $made->read('sec1.key'), qr/BEGIN EC PRIVATE KEY/, 'SEC1';
    $made->openssl(qw(ecparam -name prime256v1 -genkey -out with_parameters.key));
    for (['server_rsa', 'pkcs1'], ['server_ec', 'sec1']) {
        my ($cert, $key) = map { $made->file($_) } "$_->[0].pem", "$_->[1].key";
        my $pair = Pair->open(scheme => 'wss', context => { ssl_ca => $ca }, listen => { ssl_cert => $cert, ssl_key => $key },
            name => "connected with $_->[1]");
    }
};

subtest 'the chain' => sub {
    my @below = $made->listen_with('below');
    my $bundle = $made->write('bundle.pem', $made->read('below.pem'), $made->read('middle.pem'));
    my %case = (
        'ssl_ca is sent with it'      => [@below, ssl_ca => $made->file('middle.pem')],
        'a chain in one file'         => [ssl_cert => $bundle, ssl_key => $made->file('below.key')],
        'the same certificate in both' => [ssl_cert => $bundle, ssl_key => $made->file('below.key'), ssl_ca => $made->file('middle.pem')],
    );
    for my $name (sort keys %case) {
        my $pair = Pair->listen(listen => { @{ $case{$name} } });
        my $peer = OpenSSLPeer->client($made, $pair->port, $ca);
        converse($peer, $pair->server);
        $peer->stop;
    }
    my $pair = Pair->listen(listen => {@below});
    my $peer = OpenSSLPeer->client($made, $pair->port, $ca);
    run_until(sub { $peer->{raw}->eof }, 'without the middle one the client goes away');
    like $peer->said, qr/verify|unable to get/i, 'because it cannot verify';
    $peer->stop;
};

subtest 'ends without a Close' => sub {
    for my $way ('close_notify', 'truncated') {
        my $pair = Pair->listen(listen => { $made->listen_with('server_ec') });
        # -quiet alone would go on after the end of its input.
        my $peer = OpenSSLPeer->client($made, $pair->port, $ca, '-no_ign_eof');
        converse($peer, $pair->server);
        if ($way eq 'truncated') { $peer->stop }
        else { $peer->{raw}->finish_writing }
        run_until(sub { $pair->server->count('close') }, "$way: the server sees it");
        is $pair->server->last_of('close')->[0], 1006, "$way: 1006";
        is $pair->server->count('error'), 0, "$way: no error";
        $peer->stop if $way ne 'truncated';
    }
};

subtest 'our close_notify' => sub {
    my $sent = qr/<<< TLS[^\n]*Alert[^\n]*close_notify/;
    for my $version ('-tls1_2', '-tls1_3') {
        for my $way ('closed', 'without its context') {
            my $messages = $made->file("messages$version");
            my $pair = Pair->listen(listen => { $made->listen_with('server_ec') });
            my $peer = OpenSSLPeer->client($made, $pair->port, $ca, $version, '-msg', '-msgfile', $messages);
            converse($peer, $pair->server);
            if ($way eq 'closed') { $peer->{raw}->send_close(1000) }
            else { undef $pair->{context} }
            run_until(sub { $peer->{raw}->eof }, "$version, $way: openssl has seen the end");
            like $made->read("messages$version"), $sent, 'told by TLS';
        }
    }
    my $messages = $made->file('messages');
    my ($peer, $port) = OpenSSLPeer->server($made, 'server_ec', '-msg', '-msgfile', $messages);
    my $context = EV::Websockets::Context->new(ssl_ca => $ca);
    my $client = Events->new;
    my $conn = $context->connect(url => "wss://127.0.0.1:$port/", $client->handlers);
    run_until(sub { defined $peer->{raw}->head }, 'a request');
    $peer->{raw}->accept;
    run_until(sub { $client->count('connect') }, 'connected to openssl');
    $peer->{raw}->send_close(1000);
    run_until(sub { $client->count('close') && $made->read('messages') =~ $sent }, 'which is told, too');
};

subtest 'records that cannot be decrypted' => sub {
    my $pair = Pair->listen(listen => { $made->listen_with('server_ec') });
    my $upstream;
    my $relay = RawServer->new(answer => sub { });
    my $context = EV::Websockets::Context->new(ssl_ca => $ca);
    my $client = Events->new;
    # Between both: passes on what comes, until it adds a record of its own.
    my $pump = EV::timer(0.01, 0.01, sub {
        my $down = $relay->last_peer or return;
        $upstream ||= RawPeer->connect($pair->port);
        for (['down', $down, $upstream], ['up', $upstream, $down]) {
            my ($way, $from, $to) = @$_;
            my $bytes = (defined $from->{head} ? delete $from->{head} : '') . $from->{in};
            $from->{in} = '';
            $to->put($bytes) if length $bytes;
        }
    });
    my $conn = $context->connect(url => 'wss://127.0.0.1:' . $relay->port, $client->handlers);
    run_until(sub { $client->count('connect') && $pair->server->count('connect') }, 'connected through a relay');
    $upstream->put("\x17\x03\x03\0\x20" . 'x' x 32);
    run_until(sub { $pair->server->count('close') }, 'a forged record ends the connection');
    is $pair->server->order, 'connect error close', 'with an error';
    like $pair->server->last_of('error')->[0], qr/\ATLS: .*decrypt/, 'that says why';
    is $pair->server->last_of('close')->[0], 1006, 'with 1006';
    run_until(sub { $client->count('close') }, 'the client is told');
    like join(' ', map { @$_ } grep { defined } $client->last_of('error')), qr/received fatal alert: bad record mac/, 'by an alert';
};

subtest 'versions, openssl as server' => sub {
    for my $version ('-tls1_2', '-tls1_3') {
        my ($peer, $port) = OpenSSLPeer->server($made, 'server_ec', $version, '-alpn', 'x-chat,http/1.1');
        my $raw = $peer->{raw};
        my $context = EV::Websockets::Context->new(ssl_ca => $ca);
        my $client = Events->new;
        my $conn = $context->connect(url => "wss://127.0.0.1:$port/", ssl_alpn => 'http/1.1', $client->handlers);
        run_until(sub { defined $raw->head || $client->count('error') }, "$version: a request");
        is $client->count('error'), 0, 'no error' or diag $client->last_of('error')->[0];
        $raw->accept;
        run_until(sub { $client->count('connect') }, 'connected');
        $conn->send('to the server');
        $raw->send_frame(TEXT, 'to the client');
        run_until(sub { $client->count('message') && @{ $raw->frames } }, 'a message each way');
        is_deeply [$client->messages], ['to the client'], 'theirs';
        is $raw->frames->[0]{payload}, 'to the server', 'ours';
        $peer->stop;
        run_until(sub { $client->count('close') }, 'the server is killed');
        is $client->last_of('close')->[0], 1006, '1006, without a Close';
    }
};

# What a certificate says does not matter then, but that the peer has its key does, and each version asks in a way of its own.
subtest 'ssl_verify => 0, openssl as server' => sub {
    for my $version ('-tls1_2', '-tls1_3') {
        my ($peer, $port) = OpenSSLPeer->server($made, 'self', $version);
        my $context = EV::Websockets::Context->new;
        my $client = Events->new;
        my $conn = $context->connect(url => "wss://127.0.0.1:$port/", ssl_verify => 0, $client->handlers);
        run_until(sub { defined $peer->{raw}->head || $client->count('error') }, "$version: a request");
        is $client->count('error'), 0, 'no error' or diag $client->last_of('error')->[0];
        $peer->{raw}->accept;
        run_until(sub { $client->count('connect') }, 'connected');
        $peer->stop;
    }
};

subtest 'a client certificate' => sub {
    my ($peer, $port) = OpenSSLPeer->server($made, 'server_ec', '-Verify', 1, '-CAfile', $ca, '-verify_return_error');
    my %identity = (ssl_cert => $made->file('client.pem'), ssl_key => $made->file('client.key'));
    for my $case (['none', [], []], ['of the context', [%identity], []], ['of connect', [], [%identity]]) {
        my ($name, $new, $connect) = @$case;
        my $context = EV::Websockets::Context->new(ssl_ca => $ca, @$new);
        my $client = Events->new;
        my $raw = $peer->{raw};
        delete @$raw{qw(head)};
        my $conn = $context->connect(url => "wss://127.0.0.1:$port/", @$connect, $client->handlers);
        run_until(sub { defined $raw->head || $client->count('error') }, "$name: an answer");
        if ($name eq 'none') {
            like $client->last_of('error')->[0], qr/certificate required|handshake failure/i, 'it is asked for';
            next;
        }
        $raw->accept if defined $raw->head;
        run_until(sub { $client->count('connect') }, "$name: taken");
        undef $context;
    }
    $peer->stop;
};

subtest 'sessions are resumed' => sub {
    for my $version ('-tls1_2', '-tls1_3') {
        my $pair = Pair->listen(listen => { $made->listen_with('server_ec') });
        my $kept = $made->file("session$version");
        my @outcome;
        for my $direction ('-sess_out', '-sess_in') {
            my $peer = OpenSSLPeer->new($made, 'client', qw(s_client -ign_eof -connect), '127.0.0.1:' . $pair->port, '-CAfile', $ca,
                $version, $direction, $kept);
            my $raw = $peer->{raw};
            $pair->server->forget;
            $raw->upgrade;
            run_until(sub { $pair->server->count('connect') && ($raw->rest . ($raw->head || '')) =~ /101 Switching/ }, "$version $direction");
            my $output = ($raw->head || '') . $raw->rest;
            push @outcome, $output =~ /^(New|Reused), TLS/m ? $1 : 'neither';
            run_until(sub { -s $kept }, 'the session is kept');
            $peer->stop;
        }
        is_deeply \@outcome, ['New', 'Reused'], "$version: by the server";
    }
    my $port = RawServer::unused_port();
    my $peer = OpenSSLPeer->new($made, 'server', qw(s_server -accept), "127.0.0.1:$port", '-cert', $made->file('server_ec.pem'),
        '-key', $made->file('server_ec.key'));
    run_until(sub { $peer->{raw}->rest =~ /ACCEPT/ }, 'openssl s_server is there');
    my %context = map { $_ => EV::Websockets::Context->new(ssl_ca => $ca) } 1, 2;
    for (['1', 'New'], ['1', 'Reused'], ['2', 'New']) {
        my ($which, $expected) = @$_;
        my $raw = $peer->{raw};
        @$raw{qw(head in)} = (undef, '');
        my $client = Events->new;
        my $conn = $context{$which}->connect(url => "wss://127.0.0.1:$port/", $client->handlers);
        my $key = sub { (($raw->head || '') . $raw->rest) =~ /^Sec-WebSocket-Key: *(\S+)/mi ? $1 : undef };
        run_until(sub { $key->() || $client->count('error') }, "context $which: a request");
        my $output = ($raw->head || '') . $raw->rest;
        like $output, $expected eq 'New' ? qr/Shared ciphers(?!.*Reused session-id)/s : qr/Reused session-id/, "context $which: $expected";
        $raw->put("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            . accept_key($key->()) . "\r\n\r\n");
        run_until(sub { $client->count('connect') }, 'connected');
        $raw->send_close(1000);
        run_until(sub { $client->count('close') }, 'closed');
    }
    $peer->stop;
};

subtest 'a forked child leaves the connection alone' => sub {
    my $pair = Pair->open(scheme => 'wss', context => { ssl_ca => $ca }, listen => { $made->listen_with('server_ec') });
    $pair->c->send('queued');
    my $pid = fork;
    die "fork: $!" if !defined $pid;
    if (!$pid) {
        delete @$pair{qw(c s)};
        undef $pair->{context};
        POSIX::_exit(0);
    }
    waitpid $pid, 0;
    $pair->s->send('still here');
    run_until(sub { $pair->client->count('message') && $pair->server->count('message') }, 'both ways');
    is_deeply [$pair->server->messages], ['queued'], 'what was queued came once';
    is $pair->client->count('close') + $pair->server->count('close'), 0, 'and nothing has ended';
    $pair->shut;
};

finish;
