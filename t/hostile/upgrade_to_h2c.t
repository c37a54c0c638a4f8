# Upgrades to HTTP/2 in clear text, alone and beside WebSocket. A classic of proxies that
# forward it, and open a tunnel past all their rules (h2c smuggling).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Hostile;
use RawPeer;
use Run;
use Test::More;

my $victim = victim();
my %h2 = ('HTTP2-Settings' => 'AAMAAABkAARAAAAAAAIAAAAA');
my $preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" . "\0\0\0\x04\0\0\0\0\0" x 1000;
attack($victim, 'h2c', times => 40, warm => 10, cpu => 2, limit => 64, sub {
    my ($times) = @_;
    for my $n (1 .. $times) {
        for my $request (
            RawPeer->request(headers => { %h2, Upgrade => 'h2c', Connection => 'Upgrade, HTTP2-Settings' }),
            RawPeer->request(headers => { %h2, Upgrade => 'h2c', Connection => 'Upgrade', 'Sec-WebSocket-Version' => undef }),
            '',
        ) {
            my $peer = $victim->peer->put($request . $preface);
            wait_until(sub { $peer->eof }) or fail('over');
            fail('status ' . ($peer->status || 0)) if ($peer->status || 400) !~ /\A(?:400|404|426|505)\z/;
        }
        $victim->meanwhile if $n == $times;
    }
    # WebSocket is among what is asked for, and nothing else is agreed on.
    my $peer = $victim->upgraded(headers => { %h2, Upgrade => 'h2c, websocket', Connection => 'Upgrade, HTTP2-Settings' });
    is(join(' ', $peer->status, $peer->header('Upgrade')), '101 websocket', 'beside WebSocket') if $peer->status == 101;
    $peer->hang_up;
});

finish();
