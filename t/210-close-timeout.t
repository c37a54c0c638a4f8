use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Frame;
use Limited;
use RawEnds;
use Run;
use Test::More;

# close_timeout: how long the peer of a connection that is being closed is waited for.

my $context = EV::Websockets::Context->new;

croaks_everywhere('close_timeout', 'must be a non-negative number', -1, 'soon', 'nan', 'inf', [], '-inf');

# A peer that reads our Close and never answers.
for my $made (\&raw_client, \&raw_server) {
    my ($events, $peer) = $made->($context, close_timeout => 0.1);
    $events->conn->close(1000, 'over');
    run_unticked(sub { $events->count('close') }, 'a peer that does not close is not waited for');
    is_deeply($events->last_of('close'), [ 1006, undef ], 'which is no clean close');
    is_deeply([ $peer->close_read ], [ 1000, 'over' ], 'it had our Close');
    run_until(sub { $peer->eof }, 'and has the end of the stream');
}

# One that goes on sending a message without end.
{
    my ($events, $peer) = raw_client($context, close_timeout => 0.03);
    $peer->send_frame(BINARY, "x", fin => 0);
    $peer->put_from(sub { $peer->make(CONT, "y" x 100, fin => 0) });
    $events->conn->close;
    run_until(sub { $events->count('close') }, 'nor one that sends without end');
    is($events->last_of('close')->[0], 1006, 'it ends without a Close');
    undef $peer;
}

# Both have closed, and the server does not end the stream as it should.
{
    my ($events, $peer) = raw_server($context, close_timeout => 0.1);
    $events->conn->close;
    run_until(sub { $peer->close_read }, 'the Close');
    $peer->send_close(1000);
    run_until(sub { $events->count('close') }, 'and the answer');
    is($events->last_of('close')->[0], 1000, 'a clean close');
    ok(!$peer->eof, 'the end of the stream is the server\'s to send');
    run_unticked(sub { $peer->eof }, 'and is not waited for for ever');
}

# Without a limit the peer may take its time.
for my $made (\&raw_client, \&raw_server) {
    my ($events, $peer) = $made->($context, close_timeout => 0);
    $events->conn->close;
    run_until(sub { $peer->close_read }, 'the Close');
    settle();
    is($events->count('close'), 0, 'its answer is waited for');
    $peer->send_close(1000);
    run_until(sub { $events->count('close') }, 'it comes');
    is($events->last_of('close')->[0], 1000, 'and counts');
}

finish();
