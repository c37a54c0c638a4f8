# A proxy whose answer to CONNECT never ends, and one that says so much by SOCKS. A classic
# of clients that trust their proxy more than a server.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Hostile;
use RawServer;
use Run;
use ScriptedProxy;
use Test::More;

for my $kind (qw(http socks5)) {
    my $flood;
    my $proxy = ScriptedProxy->new([ $kind eq 'http' ? qr/\ACONNECT .*?\r\n\r\n/s : qr/\A\x05../s, sub { $flood = $_[0] } ], [ qr/\Anever/, '' ]);
    my $victim = victim(context => { proxy => "$kind://127.0.0.1:" . $proxy->port }, connect => { connect_timeout => 60 });
    attack($victim, "$kind: answers of 16 MiB", times => 16, warm => 5, cpu => 2, limit => 160, sub {
        my ($times) = @_;
        for my $n (1 .. $times) {
            my $before = $victim->seen->{error} || 0;
            undef $flood;
            $victim->connect('ws://origin.example/');
            wait_until(sub { $flood || ($victim->seen->{error} || 0) > $before });
            next if !$flood;
            delete $proxy->{playing}{ fileno $flood };
            my $peer = RawPeer->new($flood, role => 'server');
            $peer->put($kind eq 'socks5' ? "\x05\x00" : ('', 'HTTP/1.1 200 OK')[ $n % 2 ]);
            $victim->flood($peer, $kind eq 'socks5' ? "\x05\x00\x00\x03\xff" . 'x' x 255 : $n % 3 ? "X: y\r\n" : 'x' x 64, 16_777_216 / 64);
            $peer->hang_up(reset => 1);
            wait_until(sub { ($victim->seen->{error} || 0) > $before }) or fail('an error');
        }
        $victim->meanwhile;
    });
}

finish();
