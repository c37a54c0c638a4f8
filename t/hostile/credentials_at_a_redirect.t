# A redirect to another origin, with credentials in the URL, in headers and cookies.
# follow-redirects kept Proxy-Authorization (CVE-2024-28849), others Authorization. Who
# follows no redirect keeps none: it is an error, and the other origin hears nothing.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Hostile;
use RawServer;
use Run;
use Test::More;

my $victim = victim(connect => { headers => { Authorization => 'Bearer secret', Cookie => 'session=secret' } });
my $heard = 0;
my $other = RawServer->new(answer => sub { $heard++; $_[0]->accept });
my $count = 0;
my @status = ('301 Moved', '302 Found', '303 See Other', '307 Temporary', '308 Permanent', '401 Unauthorized', '407 Proxy', '426 Upgrade');
my $server = RawServer->new(answer => sub {
    my ($peer) = @_;
    $peer->put('HTTP/1.1 ' . $status[ $count++ % @status ] . "\r\nLocation: ws://127.0.0.1:" . $other->port . "/\r\nRefresh: 0;url=http://127.0.0.1:" . $other->port
        . "/\r\nWWW-Authenticate: Basic\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 100000\r\n\r\n" . 'x' x 100_000);
});
attack($victim, 'redirects', times => 400, cpu => 2, limit => 64, sub {
    my ($times) = @_;
    ok($victim->fails_to_connect('ws://127.0.0.1:' . $server->port . '/', $times), 'each is an error');
    $victim->meanwhile;
    $server->{peers} = [];
});
is($heard, 0, 'nobody was redirected');

finish();
