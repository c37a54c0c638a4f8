# A server that sends its 101, and frames, before it has seen a request. A classic of
# clients that compare the Accept key only if there is one.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use RawServer;
use Run;
use Test::More;

my $victim = victim(connect => { max_message_size => 65536 });
my $canned = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
my @early = map { $_ . "\r\n" . frame(opcode => TEXT, payload => 'early') x 20 } $canned, $canned . "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
    $canned . "Sec-WebSocket-Accept: \r\n";
my $count = 0;
my $server = RawServer->new(answer => sub { $_[0]->put($early[ $count++ % @early ]) });
$victim->refuses_answers('a 101 for nobody', $server);

finish();
