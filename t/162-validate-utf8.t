use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Events;
use Frame;
use Pair;
use RawServer;
use Run;
use Test::More;

# validate_utf8 => 0: text is passed as it comes, at both roles.

my @texts = ("caf\xe9", "\xff\xfe", "\xc0\x80", "\xed\xa0\x80", "cut \xe2\x98");

sub all_pass {
    my ($role, $peer, $events) = @_;
    for my $text (@texts) {
        my $before = $events->count('message');
        $peer->send_frame(TEXT, $text);
        $peer->put($peer->make(TEXT, $text, fin => 0) . $peer->make(CONT, $text));
        run_until(sub { $events->count('message') == $before + 2 || $events->count('close') }, "$role: text that is no UTF-8");
        is_deeply([ ($events->messages)[ -2, -1 ] ], [ $text, "$text$text" ], "$role: is passed as it came");
        is($events->last_of('message')->[1], 0, "$role: as text");
        ok(!utf8::is_utf8($events->last_of('message')->[0]), "$role: without the UTF8 flag");
    }
    $peer->send_close(1000, "no UTF-8: \xff");
    run_until(sub { $events->count('close') }, "$role: a reason that is no UTF-8");
    is_deeply($events->last_of('close'), [ 1000, "no UTF-8: \xff" ], "$role: is passed too");
    is($events->count('error'), 0, "$role: no error");
}

my $pair = Pair->listen(listen => { validate_utf8 => 0 });
my ($peer) = $pair->raw_peer;
all_pass('server', $peer, $pair->server);

my $raw = RawServer->new;
my $events = Events->new;
$pair->context->connect(url => 'ws://127.0.0.1:' . $raw->port, validate_utf8 => 0, $events->handlers);
run_until(sub { $events->count('connect') }, 'a raw server');
all_pass('client', $raw->last_peer, $events);

# Only UTF-8 is not checked; and 1 and the default check it.
{
    my ($other) = $pair->raw_peer;
    $other->send_frame(3, 'bad opcode');
    run_until(sub { $pair->server->count('close') }, 'a reserved opcode');
    is($pair->server->last_of('close')->[0], 1002, 'is still an error');
}
for my $options ([], [ validate_utf8 => 1 ], [ validate_utf8 => 'yes' ]) {
    my $strict = Pair->listen(listen => {@$options});
    my ($bad) = $strict->raw_peer;
    $bad->send_frame(TEXT, "\xff");
    run_until(sub { $strict->server->count('close') }, 'bad UTF-8');
    is($strict->server->last_of('close')->[0], 1007, 'is 1007');
}

finish();
