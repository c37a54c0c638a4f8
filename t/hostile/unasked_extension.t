# Extensions that nobody offered, and windows of bits that there are not. undici created an
# inflater with whatever server_max_window_bits said, and the process ended at the first
# compressed message (before 6.24).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use RawServer;
use Run;
use Test::More;

my $victim = victim(connect => { deflate => 1 });
my $plain = victim();
my @unasked = ('x-webkit-deflate-frame', 'permessage-bzip2', 'constructor', 'permessage-deflate, permessage-deflate', 'permessage-deflate; x', 'permessage-deflate; x="',
    map { ("permessage-deflate; server_max_window_bits=$_", "permessage-deflate; client_max_window_bits=$_") } 0, 7, 16, 99, 999, '015', 'x', '""', '9' x 50_000);
my $count = 0;
my $server = RawServer->new(answer => sub { $_[0]->accept(fields => [ 'Sec-WebSocket-Extensions: ' . $unasked[ $count++ % @unasked ] ])
    ->put(frame(opcode => TEXT, payload => "\xaa\x00", rsv => 4)) });
for my $client ($victim, $plain) {
    attack($client, ($client == $plain ? 'nothing' : 'compression') . ' was offered', times => 400, cpu => 2, limit => 64, sub {
        my ($times) = @_;
        ok($client->fails_to_connect('ws://127.0.0.1:' . $server->port . '/', $times), 'each is an error');
        $client->meanwhile;
        $server->{peers} = [];
    });
}

finish();
