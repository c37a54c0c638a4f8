# 500 requests that do not come to their end: slowloris. With a handshake_timeout they do.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Hostile;
use RawPeer;
use Run;
use Test::More;

my $victim = victim(listen => { handshake_timeout => 1 });
my $request = RawPeer->request;
attack($victim, '500 stalled heads', times => 500, limit => 500 * 4, cpu => 3, sub {
    my ($times) = @_;
    my @stalled = map { $victim->peer->put(substr $request, 0, $_ % (length($request) - 1)) } 1 .. $times;
    $victim->meanwhile for 1 .. 20;
    run_until(sub { @stalled == grep { $_->eof } @stalled }, 'all of them are over');
    is(scalar(grep { ($_->status || 408) != 408 } @stalled), 0, 'with 408, or without an answer');
    $_->hang_up for @stalled;
});

finish();
