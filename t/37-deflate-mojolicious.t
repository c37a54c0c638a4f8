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
use Interop qw(await);
use Interop::Deflate qw(settings setting_name with_our_client with_our_server);
use Mojo::IOLoop;
use Mojo::Server::Daemon;
use Mojo::UserAgent;
use Run;

# permessage-deflate with Mojolicious in both roles, in this process and on the
# same EV loop. It knows none of the parameters: its answer never has one, it
# keeps its window from message to message whatever ours says, and its window
# has 15 bits. So a client of ours can ask for nothing, and a server may not ask
# it to forget.

my $name = 'Mojolicious';

plan skip_all => 'Mojolicious does not run on EV here'
    unless Mojo::IOLoop->singleton->reactor->isa('Mojo::Reactor::EV');

# Messages are compressed; Mojolicious itself never fragments one, so the pieces
# are cut here from what it compressed.
sub serve {
    my ($tx, $extensions) = @_;
    my $count = 1;
    $tx->max_websocket_size(4 * 1024 * 1024);
    my $echo = sub {
        my ($kind, $bytes) = @_;
        my $frame = $tx->build_message({ $kind => $bytes });
        my $size = 1 + int length($frame->[5]) / $count;
        for my $n (0 .. $count - 1) {
            $tx->send([ $n == $count - 1 ? 1 : 0, $n ? 0 : $frame->[1], 0, 0, $n ? 0 : $frame->[4],
                $n * $size < length $frame->[5] ? substr $frame->[5], $n * $size, $size : '' ]);
        }
        $count = 1;
    };
    $tx->on(text => sub {
        my ($tx, $bytes) = @_;
        $bytes =~ /\A!split ([0-9]+)\z/ ? $count = $1 : $echo->(text => $bytes);
    });
    $tx->on(binary => sub { $echo->(binary => $_[1]) });
    $tx->send({ text => 'extensions=' . (defined $extensions ? $extensions : '') });
    return;
}

{
    my $app = Mojolicious->new;
    $app->log->level('fatal');
    $app->routes->websocket('/' => sub {
        my ($c) = @_;
        $c->tx->with_compression;
        $c->inactivity_timeout(300);
        my $tx = $c->rendered(101)->tx;
        # Nothing may be sent before the 101 has been.
        Mojo::IOLoop->next_tick(sub { serve($tx, $tx->res->headers->sec_websocket_extensions) });
    });
    my $daemon = Mojo::Server::Daemon->new(
        app => $app, listen => ['http://127.0.0.1'], silent => 1, inactivity_timeout => 300);
    $daemon->start;
    my $url = 'ws://127.0.0.1:' . $daemon->ports->[0] . '/';
    with_our_client($name,
        [ 'defaults', $url, 1, {}, 1 ],
        [ 'a hint of ours', $url, { client_no_context_takeover => 1, client_max_window_bits => 9 }, {}, 1 ],
    );
    # What it cannot promise must not be believed.
    for my $setting ({ server_no_context_takeover => 1 }, { server_max_window_bits => 12 }) {
        my $talk = Interop::Talk->connect(EV::Websockets::Context->new, url => $url, deflate => $setting);
        my ($asked) = keys %$setting;
        like($talk->{error}, qr/$asked/, "$asked is not promised: the connection fails, and says so");
    }
}

{
    my $ua = Mojo::UserAgent->new(inactivity_timeout => 300);
    my $next;
    $next = sub {
        my ($url, @rest) = @_;
        return unless defined $url;
        $ua->websocket($url => { 'Sec-WebSocket-Extensions' => 'permessage-deflate' } => sub {
            my ($ua, $tx) = @_;
            return diag 'no connection: ' . $tx->error->{message} if !$tx->is_websocket;
            serve($tx, $tx->res->headers->sec_websocket_extensions);
            $tx->on(finish => sub { $next->(@rest) });
        });
    };
    my %keep = (client_no_context_takeover => 0);
    # It never says that it can have a smaller window, so none is asked for.
    my @settings = grep { !$_->{client_no_context_takeover} && $_->{client_max_window_bits} == 15 } settings();
    with_our_server(
        $name, $next,
        [ 'open', { %keep, server_no_context_takeover => 0 }, {}, 1 ],
        [ 'we forget', \%keep, { server_no_context_takeover => 1 }, 1 ],
        map { [ 'we ask for ' . setting_name($_), $_, $_, 1 ] } @settings,
    );
    undef $next;
}

finish;
