# Peers that end their direction and go on reading, in each state. A classic of loops that
# read the same end of the stream for ever, and of servers that never let go.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use EV;
use Frame;
use Hostile;
use RawPeer;
use Run;
use Test::More;

my $victim = victim();
my $request = RawPeer->request;
attack($victim, 'half-closed connections', times => 100, warm => 40, cpu => 3, limit => 128, sub {
    my ($times) = @_;
    my @bytes = ('', substr($request, 0, 40), $request, $request . "\x81", $request . "\x81\xfe\xff", $request . "\x01\x81abcdx");
    for my $bytes (@bytes) {
        my @peers = $victim->crowd($times, sub { $_[0]->put($bytes)->finish_writing }, sub { $_[0]->eof }, 'the other direction is ended, too');
        $victim->meanwhile;
    }
});
$victim->is_at_rest;

finish();
