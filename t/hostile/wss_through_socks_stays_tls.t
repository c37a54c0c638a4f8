# wss through a SOCKS proxy that reads. A classic of clients that, through a proxy, forget
# the s: the proxy gets the request, with its cookies, in clear text.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Hostile;
use Run;
use ScriptedProxy;
use Test::More;

my ($seen, $sessions) = ('', 0);
my $proxy = ScriptedProxy->new([ qr/\A\x05../s, "\x05\x00" ], [ qr/\A\x05\x01\x00\x03.origin\.example../s, "\x05\x00\x00\x01\0\0\0\0\0\0" ],
    [ qr/\A.{5}.*/s, sub { $sessions++; close $_[0] } ], [ qr/\Anever/, '' ]);
my $victim = victim(context => { proxy => 'socks5h://127.0.0.1:' . $proxy->port }, connect => { headers => { Cookie => 'secret' }, deflate => 1 });
attack($victim, 'connections', times => 100, limit => 256, cpu => 4, sub {
    my ($times) = @_;
    ok($victim->fails_to_connect('wss://origin.example/secret', $times), 'none is connected');
    $victim->meanwhile;
});
is($sessions, 200, 'all of them came to the proxy');
is(scalar(() = $proxy->seen =~ /\x16\x03\x01..\x01\x00/gs), 200, 'with a ClientHello');
unlike($proxy->seen, qr/secret|HTTP|Upgrade/i, 'and with nothing that it may not read');

finish();
