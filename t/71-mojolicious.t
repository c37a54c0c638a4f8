use strict;
use warnings;

BEGIN { $ENV{MOJO_REACTOR} = 'Mojo::Reactor::EV'; $ENV{MOJO_NO_TLS} = 1 }

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

BEGIN {
    plan skip_all => 'Mojolicious 9 is not installed'
        unless eval { require Mojolicious; Mojolicious->VERSION(9); require Mojo::Reactor::EV; 1 };
}

use EV;
use EV::Websockets;
use Mojo::IOLoop;
use Mojo::Promise;
use Mojo::Server::Daemon;
use Mojo::UserAgent;
use Neighbours;
use Run;

# A program that is written with Mojolicious, and this module beside it.

plan skip_all => 'Mojolicious does not run on EV here'
    unless Mojo::IOLoop->singleton->reactor->isa('Mojo::Reactor::EV');

my $echo = Mojo::IOLoop->server({ address => '127.0.0.1' } => sub {
    my ($loop, $stream) = @_;
    $stream->on(read => sub { my ($stream, $bytes) = @_; $bytes =~ s/^/echo /mg; $stream->write($bytes) });
});
my $echo_port = Mojo::IOLoop->acceptor($echo)->port;

# Lines are short and wait for an answer each, so that each is one read.
neighbours(
    timer => sub { return Mojo::IOLoop->recurring(0.01 => $_[0]) },
    lines => sub {
        my ($on_line) = @_;
        my ($stream, @early);
        my $id = Mojo::IOLoop->client({ address => '127.0.0.1', port => $echo_port } => sub {
            (my $loop, my $error, $stream) = @_;
            die $error if $error;
            $stream->on(read => sub { $on_line->(/(.*)/) for $_[1] });
            $stream->write($_) for splice @early;
        });
        return ($id, sub { $stream ? $stream->write("$_[0]\n") : push @early, "$_[0]\n" });
    },
    run => {
        'Mojo::IOLoop->start' => sub {
            my ($start) = @_;
            $start->(sub { Mojo::IOLoop->stop });
            Mojo::IOLoop->start;
        },
        'Mojo::IOLoop->one_tick' => sub {
            my ($start) = @_;
            my $stopped = 0;
            $start->(sub { $stopped = 1 });
            Mojo::IOLoop->one_tick until $stopped;
        },
        'Mojo::Promise->wait' => sub {
            my ($start) = @_;
            my $promise = Mojo::Promise->new;
            $start->(sub { $promise->resolve });
            $promise->wait;
        },
    },
);

# An application of Mojolicious that hands its requests to a WebSocket server
# of ours, and its own web socket beside it, which one client each talks to.
{
    my $context = EV::Websockets::Context->new;
    my $port = $context->listen(on_message => sub { $_[0]->send(uc $_[1]) });
    my $app = Mojolicious->new;
    $app->log->level('fatal');
    $app->routes->get('/ask/:word' => sub {
        my ($c) = @_;
        $c->render_later;
        my $word = $c->param('word');
        $context->connect(
            url        => "ws://127.0.0.1:$port",
            on_connect => sub { $_[0]->send($word) },
            on_message => sub { $c->render(text => "ours said $_[1]"); $_[0]->close },
        );
    });
    $app->routes->websocket('/talk' => sub { $_[0]->on(message => sub { $_[0]->send("theirs said $_[1]") }) });
    my $daemon = Mojo::Server::Daemon->new(app => $app, listen => ['http://127.0.0.1'], silent => 1);
    $daemon->start;
    my $at = '127.0.0.1:' . $daemon->ports->[0];

    my ($page, $said);
    my $ua = Mojo::UserAgent->new;
    $ua->get("http://$at/ask/hello" => sub { $page = $_[1]->res->body });
    my $conn = $context->connect(
        url        => "ws://$at/talk",
        on_connect => sub { $_[0]->send('hello') },
        on_message => sub { $said = $_[1] },
    );
    run_until(sub { defined $page && defined $said }, 'a page and a web socket of the same application');
    is($page, 'ours said HELLO', 'a page that waits for our server');
    is($said, 'theirs said hello', 'a web socket of Mojolicious with our client');
}

finish();
