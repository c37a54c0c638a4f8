use strict;
use warnings;

BEGIN { $ENV{MOJO_REACTOR} = 'Mojo::Reactor::EV'; $ENV{MOJO_NO_TLS} = 1 }

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

BEGIN {
    plan skip_all => 'Mojolicious 9 is not installed'
        unless eval { require Mojolicious; Mojolicious->VERSION(9); require Mojo::Reactor::EV; 1 };
}

use EV::Websockets;
use Interop qw(our_client our_server await);
use Mojo::IOLoop;
use Mojo::Server::Daemon;
use Mojo::UserAgent;
use PerlPeer;
use Run;

# Mojolicious in both roles, in this process and on the same EV loop.

my $name = 'Mojolicious';

plan skip_all => 'Mojolicious does not run on EV here'
    unless Mojo::IOLoop->singleton->reactor->isa('Mojo::Reactor::EV');

my @closed;
my $closed = sub {
    await(sub { @closed }, 'the end of a connection of Mojolicious');
    return shift @closed;
};

# Makes an open transaction the peer of the conversation.
sub serve {
    my ($tx, $headers) = @_;
    $tx->max_websocket_size(2 * 1024 * 1024);
    my $peer = PerlPeer->new(
        frame => sub { $tx->send([$_[0], 0, 0, 0, $_[1], $_[2]]) },
        abort => sub { Mojo::IOLoop->remove($tx->connection) },
    );
    # After a Close of its own Mojolicious wants to be told, to end the connection.
    my $frame = $peer->{frame};
    $peer->{frame} = sub {
        my ($fin, $opcode, $payload) = @_;
        return $frame->($fin, $opcode, $payload) if $opcode != PerlPeer::CLOSE;
        my ($code, $reason) = length $payload ? unpack 'na*', $payload : ();
        utf8::decode($reason) if defined $reason;
        return $tx->finish(defined $code ? ($code, $reason) : ());
    };
    $tx->on(text   => sub { $peer->message(PerlPeer::TEXT,   $_[1]) });
    $tx->on(binary => sub { $peer->message(PerlPeer::BINARY, $_[1]) });
    $tx->on(frame  => sub { my ($tx, $f) = @_; $peer->pong($f->[5]) if $f->[4] == 10 });
    $tx->on(finish => sub {
        my ($tx, $code, $reason) = @_;
        $reason = '' unless defined $reason;
        utf8::encode($reason);
        push @closed, [$code, $reason];
    });
    $peer->hello(
        peer        => $name,
        protocol    => $tx->protocol,
        'x-interop' => $headers->header('X-Interop'),
        extensions  => $headers->sec_websocket_extensions,
    );
    return;
}

{
    my $app = Mojolicious->new;
    $app->log->level('fatal');
    $app->routes->get('/forbidden' => sub { $_[0]->render(text => 'no', status => 403) });
    $app->routes->websocket('/talk' => sub {
        my ($c) = @_;
        $c->tx->with_protocols('v2.interop', 'v9.interop');
        $c->res->headers->header('X-Interop' => "from $name");
        $c->inactivity_timeout(300);
        my $tx = $c->rendered(101)->tx;
        # Nothing may be sent before the 101 has been.
        Mojo::IOLoop->next_tick(sub { serve($tx, $c->req->headers) });
    });
    my $daemon = Mojo::Server::Daemon->new(
        app => $app, listen => ['http://127.0.0.1'], silent => 1, inactivity_timeout => 300);
    $daemon->start;
    our_client($name, 'ws://127.0.0.1:' . $daemon->ports->[0], $closed);
}

{
    my $ua = Mojo::UserAgent->new(inactivity_timeout => 300);
    my $next;
    $next = sub {
        my ($url, @rest) = @_;
        return unless defined $url;
        my %headers = ('X-Interop' => "from $name", 'Sec-WebSocket-Extensions' => 'permessage-deflate');
        $ua->websocket($url => \%headers => ['v3.interop', 'v2.interop'] => sub {
            my ($ua, $tx) = @_;
            if ($tx->is_websocket) {
                serve($tx, $tx->res->headers);
                return $tx->on(finish => sub { $next->(@rest) });
            }
            push @closed, [$tx->res->code, ''];
            return $next->(@rest);
        });
    };
    our_server($name, $next, $closed, qr/permessage-deflate/);
    undef $next;
}

finish;
