use strict;
use warnings;

BEGIN { $ENV{PERL_ANYEVENT_MODEL} = 'EV' }

use FindBin qw($Bin);
use lib "$Bin/lib";
use EV;
use EV::Websockets;
use Frame;
use IO::Socket::INET;
use RawPeer;
use Run;
use Test::More;

# The servers of other people, in this process and on the same loop, serve pages
# and hand the sockets of WebSocket requests over.

my $context = EV::Websockets::Context->new;
my (%log, @errors);

sub adopt {
    my ($env, %more) = @_;
    return eval {
        $context->adopt(
            env => $env, protocol => 'chat', %more,
            on_connect => sub { $_[0]->stash->{path} = $_[1]{Path}; $log{connect}++ },
            on_message => sub { my ($c, $m, $binary) = @_; $binary ? $c->send_binary($m) : $c->send($c->stash->{path} . $m) },
            on_close   => sub { $log{"close $_[1]"}++ },
            on_error   => sub { push @errors, $_[1] },
        );
    };
}

sub is_upgrade { return lc($_[0]{HTTP_UPGRADE} || '') eq 'websocket' }

sub psgi {
    my ($env) = @_;
    return [ 200, [ 'Content-Type' => 'text/plain' ], ["page $env->{PATH_INFO}"] ] if !is_upgrade($env);
    return sub {
        my ($respond) = @_;
        adopt($env) or $respond->([ 400, [ 'Content-Type' => 'text/plain' ], [$@] ]);
    };
}

sub native {
    my ($request) = @_;
    my $env = $request->env;
    return $request->send_response(200, [ 'Content-Type' => 'text/plain' ], ["page $env->{PATH_INFO}"]) if !is_upgrade($env);
    my $fh = $request->can('io') ? $request->io : undef;
    $fh || open $fh, '+<&', $request->fileno or die "dup: $!";
    adopt($env, fh => $fh) or $request->send_response(400, [ 'Content-Type' => 'text/plain' ], [$@]);
}

sub listening { return IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 64, Blocking => 0) || die "listen: $@" }

# Feersum has one instance unless it is new enough.
my ($feersum, $feersum_port);
sub feersum {
    my ($interface) = @_;
    return if !eval { require Feersum; 1 };
    if (!$feersum) {
        my $listener = listening();
        $feersum_port = $listener->sockport;
        $feersum = Feersum->new;
        $feersum->use_socket($listener);
    }
    $interface eq 'native' ? $feersum->request_handler(\&native) : $feersum->psgi_request_handler(\&psgi);
    return $feersum_port;
}

my $twiggy;
sub twiggy {
    return if !eval { require Twiggy::Server; 1 };
    my $port;
    $twiggy = Twiggy::Server->new(host => '127.0.0.1', port => 0, server_ready => sub { $port = $_[0]{port} });
    $twiggy->register_service(\&psgi);
    return $port;
}

# What each of them hands over of what came behind the request in one read.
my @servers = (
    [ 'Feersum, PSGI',   sub { feersum('PSGI') },   ahead => 1 ],
    [ 'Feersum, native', sub { feersum('native') }, ahead => 0 ],
    [ 'Twiggy',          \&twiggy,                  ahead => 1 ],
);

sub descriptors {
    opendir my $dir, '/proc/self/fd' or return 0;
    return scalar grep { /\A\d+\z/ } readdir $dir;
}

sub our_clients {
    my ($port, $count) = @_;
    my ($echoes, $closed) = (0, 0);
    for my $n (1 .. $count) {
        $context->connect(
            url        => "ws://127.0.0.1:$port/room", protocol => 'x, chat',
            on_connect => sub { $_[0]->send_binary(pack 'N', $n); $_[0]->send(" hello $n") },
            on_message => sub {
                my ($c, $message, $binary) = @_;
                my $expected = $binary ? pack("N", $n) : "/room hello $n";
                $echoes++ if $message eq $expected;
                $c->close(4000 + $n % 3) if !$binary;
            },
            on_close => sub { $closed++ if $_[1] == 4000 + $n % 3 },
            on_error => sub { push @errors, $_[1] },
        );
    }
    run_until(sub { $closed == $count || @errors }, "$count clients of ours");
    is($echoes, 2 * $count, 'have two echoes each');
}

sub one_by_hand {
    my ($port, $ahead) = @_;
    my $peer = RawPeer->connect($port);
    my $first = $peer->make(TEXT, 'first') . $peer->make(BINARY, 'y' x 5000);
    $peer->put($peer->request(path => '/a%20b') . ($ahead ? $first : ''));
    run_until(sub { defined $peer->head }, 'a response');
    is($peer->status, 101, 'is an upgrade');
    $peer->put($first) if !$ahead;
    run_until(sub { $peer->frames_of(BINARY) }, $ahead ? 'frames in one write with the request' : 'frames');
    is(($peer->frames_of(TEXT))[0]{payload}, '/a bfirst', 'are all there');
    is(length(($peer->frames_of(BINARY))[0]{payload}), 5000, 'and whole');
    $peer->send_close(4444);
    run_until(sub { $peer->eof && $log{'close 4444'} }, 'the server does not keep the stream open');
}

sub refusals_and_pages {
    my ($port) = @_;
    my $bad = RawPeer->connect($port);
    $bad->upgrade(headers => { 'Sec-WebSocket-Key' => 'x' });
    run_until(sub { $bad->eof && defined $bad->head }, 'a request that is refused');
    like($bad->start_line, qr{\AHTTP/1\.[01] 400 }, 'is answered by the application');
    like($bad->rest, qr/Failed to adopt socket: 400 Bad Request/, 'with the reason');
    my $page = RawPeer->connect($port);
    $page->put("GET /index HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    run_until(sub { $page->eof }, 'a page');
    like($page->rest, qr{page /index}, 'is served beside');
}

sub anyevent_client {
    my ($port) = @_;
    SKIP: {
        skip 'AnyEvent::WebSocket::Client is not installed', 1 if !eval { require AnyEvent::WebSocket::Client; 1 };
        my ($echo, $connection, $finished);
        AnyEvent::WebSocket::Client->new->connect("ws://127.0.0.1:$port/any")->cb(sub {
            $connection = eval { $_[0]->recv } or return $echo = "failed: $@";
            $connection->on(next_message => sub { $echo = $_[1]->body; $connection->close(1000) });
            $connection->on(finish => sub { $finished = 1 });
            $connection->send('thing');
        });
        run_until(sub { defined $echo }, 'AnyEvent::WebSocket::Client');
        is($echo, '/anything', 'has its echo');
        run_until(sub { $finished || !$connection }, 'and its end');
    }
}

my $ran = 0;
for my $server (@servers) {
    my ($name, $start, %o) = @$server;
    my $port = $start->();
    if (!$port) {
        note "$name is not installed";
        next;
    }
    $ran++;
    subtest $name => sub {
        %log = ();
        one_by_hand($port, $o{ahead});
        our_clients($port, 3);
        settle();
        my $before = descriptors();
        our_clients($port, 50);
        settle();
        is(descriptors(), $before, 'no descriptor is left');
        is($log{connect}, 54, 'connections');
        refusals_and_pages($port);
        anyevent_client($port);
        is_deeply(\@errors, [], 'no error');
        is_deeply([ $context->connections ], [], 'no connection is left');
    };
}
plan skip_all => 'neither Feersum nor Twiggy is installed' if !$ran;

finish;
