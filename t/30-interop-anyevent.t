use strict;
use warnings;

BEGIN { $ENV{PERL_ANYEVENT_MODEL} = 'EV' }

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

BEGIN {
    plan skip_all => 'AnyEvent::WebSocket::Client is not installed'
        unless eval { require AnyEvent::WebSocket::Client; AnyEvent::WebSocket::Client->VERSION('0.40'); 1 };
}

use AnyEvent;
use EV::Websockets;
use Interop qw(our_server await);
use PerlPeer;
use Protocol::WebSocket::Frame;
use Run;

# AnyEvent::WebSocket::Client to our server, in this process and on the same EV loop.

my $name = 'AnyEvent::WebSocket::Client';

is AnyEvent::detect(), 'AnyEvent::Impl::EV', 'AnyEvent runs on EV';

my @closed;
my $closed = sub {
    await(sub { @closed }, "the end of a connection of $name");
    return shift @closed;
};

# The class does not tell about the pongs that it gets.
my $on_pong;
{
    no warnings 'redefine';
    my $process = AnyEvent::WebSocket::Connection->can('_process_message');
    *AnyEvent::WebSocket::Connection::_process_message = sub {
        my ($connection, $message) = @_;
        $on_pong->($message->body) if $message->is_pong;
        return $connection->$process($message);
    };
}

my $connection;    # it lives as long as something holds it

sub serve {
    my ($then) = @_;
    my $handle = $connection->handle;
    my $finish = sub {
        my ($code, $reason) = @_;
        return unless $connection;
        undef $connection;
        utf8::encode($reason) if defined $reason;
        push @closed, [defined $code ? $code : 1006, defined $reason ? $reason : ''];
        $then->();
    };
    my $peer = PerlPeer->new(
        frame => sub {
            my ($fin, $opcode, $bytes) = @_;
            $handle->push_write(Protocol::WebSocket::Frame->new(
                fin => $fin, opcode => $opcode, buffer => $bytes, masked => 1, max_payload_size => 0,
            )->to_bytes);
        },
        half_close => sub { $handle->push_shutdown },
        abort      => sub { $handle->destroy; $finish->() },
    );
    $on_pong = sub { $peer->pong($_[0]) };
    $connection->on(each_message => sub {
        my ($connection, $message) = @_;
        $peer->message($message->is_text ? PerlPeer::TEXT : PerlPeer::BINARY, $message->body);
    });
    $connection->on(finish => sub { $finish->($_[0]->close_code, $_[0]->close_reason) });
    # The class keeps the response's headers to itself.
    $peer->hello(peer => $name, protocol => $connection->subprotocol, 'x-interop' => 'from ours');
    return;
}

my $next;
$next = sub {
    my ($url, @rest) = @_;
    return unless defined $url;
    my $client = AnyEvent::WebSocket::Client->new(
        subprotocol      => ['v3.interop', 'v2.interop'],
        http_headers     => { 'X-Interop' => "from $name" },
        max_payload_size => 2 * 1024 * 1024,
    );
    $client->connect($url)->cb(sub {
        my ($cv) = @_;
        $connection = eval { $cv->recv };
        return serve(sub { $next->(@rest) }) if $connection;
        push @closed, [$@ =~ /handshake error: .*?(\d{3})/ ? $1 : $@, ''];
        $next->(@rest);
    });
};

# It answers any Close with the code 1005, which must not appear on the wire.
our_server($name, $next, $closed, undef, close_answer => [1002, undef]);
undef $next;

finish;
