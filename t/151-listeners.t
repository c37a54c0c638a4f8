use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Events;
use Frame;
use RawPeer;
use Run;
use Test::More;

# Several listeners of one context: each has its own options and callbacks.

my $context = EV::Websockets::Context->new;
my %events  = map { ($_ => Events->new) } qw(a b c);
my %port    = (
    a => $context->listen(name => 'same', protocol => 'pa', headers => { 'X-Who' => 'a' }, max_message_size => 10,
        $events{a}->handlers(on_message => sub { $_[0]->send("a: $_[1]") })),
    b => $context->listen(name => 'same', protocol => 'pb', headers => { 'X-Who' => 'b' }, max_message_size => 1000,
        $events{b}->handlers(on_message => sub { $_[0]->send("b: $_[1]") })),
    c => $context->listen(on_handshake => sub { { 'X-Asked' => 1 } },
        $events{c}->handlers(on_message => sub { $_[0]->send("c: $_[1]") })),
);
is(scalar(keys %{ { reverse %port } }), 3, 'three ports');

my %peer;
for my $who (qw(a b c)) {
    $peer{$who} = RawPeer->connect($port{$who});
    $peer{$who}->upgrade(headers => { 'Sec-WebSocket-Protocol' => 'pa, pb' });
    run_until(sub { $events{$who}->count('connect') && $peer{$who}->head }, "$who: connected");
    $peer{$who}->send_frame(TEXT, 'hello');
    run_until(sub { $peer{$who}->frames_of(TEXT) }, "$who: answered");
    is(($peer{$who}->frames_of(TEXT))[0]{payload}, "$who: hello", "$who: by its own callback");
}
is_deeply([ map { $peer{$_}->header('X-Who') } qw(a b c) ], [ 'a', 'b' ], 'their own headers');
is_deeply([ map { $peer{$_}->header('Sec-WebSocket-Protocol') } qw(a b c) ], [ 'pa', 'pb' ], 'their own protocols');
is_deeply([ map { $peer{$_}->header('X-Asked') } qw(a b c) ], ['1'], 'their own on_handshake');
is($events{$_}->order, 'connect message', "$_: heard only its own") for qw(a b c);

$peer{$_}->send_frame(TEXT, 'x' x 11) for qw(a b c);
run_until(sub { $events{a}->count('close') && $events{b}->count('message') == 2 && $events{c}->count('message') == 2 },
    'their own max_message_size');
is($events{a}->last_of('close')->[0], 1009, 'too big for a');

# Both families.
SKIP: {
    skip 'no IPv6 loopback here', 2
        if !eval { require IO::Socket::IP; IO::Socket::IP->new(LocalHost => '::1', LocalPort => 0, Listen => 1) };
    my $six = RawPeer->connect($port{b}, host => '::1')->upgrade;
    run_until(sub { $six->head }, 'the same port over IPv6');
    is($six->status, 101, 'is the same listener');
}

# A port can be taken again at once, though connections of it are in TIME_WAIT.
{
    my $first = EV::Websockets::Context->new;
    my $events = Events->new;
    my $port = $first->listen($events->handlers(on_connect => sub { $_[0]->close }));
    my $peer = RawPeer->connect($port)->upgrade;
    run_until(sub { $peer->close_read }, 'a connection that the server closes');
    $peer->send_close(1000);
    run_until(sub { $peer->eof }, 'first');
    undef $first;
    my $second = EV::Websockets::Context->new;
    is($second->listen(port => $port), $port, 'the port is free again');
}

# The bug: listeners shared its code with connections, and croaked with that name.
croaks_like { EV::Websockets::Context::listeners({}) }
    qr/\AEV::Websockets::Context::listeners: the invocant is not an EV::Websockets::Context object/, 'no context';

finish();
