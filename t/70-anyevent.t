use strict;
use warnings;

BEGIN { $ENV{PERL_ANYEVENT_MODEL} = 'EV' }

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

BEGIN {
    plan skip_all => 'AnyEvent is not installed'
        unless eval { require AnyEvent; require AnyEvent::Handle; require AnyEvent::Socket; 1 };
}

use EV;
use EV::Websockets;
use Neighbours;
use Run;

# A program that is written with AnyEvent: its timers and sockets, and ours, on
# the default loop. Either side's way to run it runs both.

is(AnyEvent::detect(), 'AnyEvent::Impl::EV', 'AnyEvent runs on EV');

# An echo of lines over TCP, by AnyEvent alone.
my ($port, @handles);
my $guard = AnyEvent::Socket::tcp_server('127.0.0.1', 0, sub {
    my ($fh) = @_;
    my $handle = AnyEvent::Handle->new(fh => $fh, on_error => sub { $_[0]->destroy });
    $handle->on_read(sub { $_[0]->push_read(line => sub { $_[0]->push_write("echo $_[1]\n") }) });
    push @handles, $handle;
}, sub { $port = $_[2]; return });

neighbours(
    timer => sub {
        my ($cb) = @_;
        return AnyEvent->timer(after => 0.01, interval => 0.01, cb => $cb);
    },
    lines => sub {
        my ($on_line) = @_;
        my $client = AnyEvent::Handle->new(connect => [ '127.0.0.1', $port ], on_error => sub { die $_[2] });
        $client->on_read(sub { $_[0]->push_read(line => sub { $on_line->($_[1]) }) });
        return ($client, sub { $client->push_write("$_[0]\n") });
    },
    run => { 'AnyEvent->condvar' => sub {
        my ($start) = @_;
        my $done = AnyEvent->condvar;
        $start->(sub { $done->send });
        $done->recv;
    } },
);

# recv inside of a callback, which runs the loop there. (AnyEvent wants no recv
# inside of another, so the outer one is EV's.)
{
    my $context = EV::Websockets::Context->new;
    my $listen = $context->listen(on_message => sub { $_[0]->send(scalar reverse $_[1]) });
    my $answer = AnyEvent->condvar;
    my $got;
    $context->connect(
        url        => "ws://127.0.0.1:$listen",
        on_connect => sub { $_[0]->send('abc'); $got = $answer->recv; $_[0]->close },
        on_message => sub { $answer->send($_[1]) },
        on_close   => sub { EV::break() },
    );
    EV::run();
    is($got, 'cba', 'recv inside of on_connect sees the message come');
}

finish();
