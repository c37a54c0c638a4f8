use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Errno qw(EAGAIN);
use Frame;
use Limited;
use RawEnds;
use Run;
use Test::More;

# ping_interval and pong_timeout: a peer that is silent is asked for a sign of life, and one
# that shows none is given up. latency: how long the last one took that was asked for.

my $context = EV::Websockets::Context->new;

croaks_everywhere($_, 'must be a non-negative number', -1, 'soon', 'nan', 'inf') for qw(ping_interval pong_timeout);

# One that does not answer, whichever way it came.
for my $made (\&raw_client, \&raw_server, \&raw_adopted) {
    my ($events, $peer) = $made->($context, ping_interval => 0.1, pong_timeout => 0.1);
    my $conn = $events->conn;
    run_unticked(sub { $events->count('close') }, 'it is given up');
    is($events->order, 'connect error close', 'after an error');
    is_deeply($events->last_of('error'), ['ping timeout'], 'that says why');
    is_deeply($events->last_of('close'), [ 1006, undef ], 'without a Close');
    run_until(sub { $peer->eof }, 'the peer has the end of the stream');
    is(scalar $peer->frames_of(PING), 1, 'and had its Ping before');
    is(scalar $peer->frames_of(CLOSE), 0, 'and no Close');
    is($conn->latency, undef, 'there is no latency');
}

# One that does.
for my $made (\&raw_client, \&raw_server) {
    my ($events, $peer) = $made->($context, ping_interval => 0.05, pong_timeout => 5);
    my $conn = $events->conn;
    is($conn->latency, undef, 'before the first answer there is no latency');
    for my $count (1 .. 3) {
        run_unticked(sub { $peer->frames_of(PING) == $count }, "Ping number $count");
        my ($ping) = reverse $peer->frames_of(PING);
        $peer->send_frame(PONG, $ping->{payload});
        run_until(sub { defined $conn->latency }, 'the answer');
        cmp_ok($conn->latency, '>', 0, 'which took its time');
        is($conn->stats->{latency}, $conn->latency, '... and is in the statistics');
    }
    is($events->count('pong'), 0, 'on_pong is not called for what the program did not ask');
    my %payload = map { $_->{payload} => 1 } $peer->frames_of(PING);
    is(scalar keys %payload, 3, 'no two Pings are the same');
    $conn->send_ping('mine');
    run_until(sub { grep { $_->{payload} eq 'mine' } $peer->frames_of(PING) }, 'its own Ping');
    $peer->send_frame(PONG, 'mine');
    run_until(sub { $events->count('pong') }, 'has its Pong');
    is_deeply($events->last_of('pong'), ['mine'], 'with its payload');
    $conn->close;
    is($conn->state, 'closing', 'closed');
    $peer->send_close(1000);
    run_until(sub { $events->count('close') }, 'in order');
    is($conn->latency, undef, 'a closed connection has no latency');
    undef $peer;
}

# A Pong that nobody asked for goes to the program, and says nothing about latency.
{
    my ($events, $peer) = raw_client($context, ping_interval => 0.05, pong_timeout => 0);
    $peer->send_frame(PONG, 'x' x 16);
    run_until(sub { $events->count('pong') }, 'an unasked Pong');
    run_unticked(sub { $peer->frames_of(PING) }, 'a Ping');
    my ($ping) = $peer->frames_of(PING);
    my $forged = substr($ping->{payload}, 0, 15) . chr(1 ^ ord substr $ping->{payload}, 15);
    $peer->send_frame(PONG, $forged);
    $peer->send_frame(TEXT, 'behind it');
    run_until(sub { $events->messages }, 'and a forged one');
    is($events->conn->latency, undef, 'neither tells the latency');
    run_unticked(sub { $peer->frames_of(PING) > 3 }, 'without pong_timeout nobody is given up');
    ok($events->conn->is_connected, 'who does not answer');
}

# Every octet counts: that of a message that comes slowly is as good as a Pong.
{
    my ($events, $peer) = raw_client($context, ping_interval => 0.05, pong_timeout => 0.3);
    my $text  = $peer->make(TEXT, 'slowly, but it comes');
    my $timer = EV::timer(0, 0.1, sub { $peer->put(substr $text, 0, 1, '') });
    run_until(sub { $events->messages || $events->count('close') }, 'a message that takes longer than pong_timeout');
    is_deeply([ $events->messages ], ['slowly, but it comes'], 'arrives');
    ok($events->conn->is_connected, 'on a connection that lives');
}

# A peer that takes nothing has no Ping to answer. It is given up all the same; it was not
# before, and its queue stayed for ever.
{
    my ($events, $peer) = raw_client($context, ping_interval => 0.1, pong_timeout => 0.1);
    $peer->{reader}->stop;
    $events->conn->send_binary('x' x 16_000_000);
    run_unticked(sub { $events->count('close') }, 'one that does not read');
    is_deeply($events->last_of('error'), ['ping timeout'], 'is given up');
}

# And one that reads slowly is not, though it says nothing and has no Ping before it has read
# the rest.
{
    my ($events, $peer) = raw_client($context, ping_interval => 0.1, pong_timeout => 0.3);
    $peer->{reader}->stop;
    $events->conn->send_binary('x' x 16_000_000);
    my ($read, $rounds) = (0, 0);
    my $timer = EV::timer(0.1, 0.1, sub {
        $rounds++;
        my $got = sysread $peer->{fh}, my $bytes, 1_000_000;
        $read += $got || 0;
    });
    run_until(sub { $rounds == 10 || $events->count('close') }, 'one that reads slowly');
    cmp_ok($read, '<', 16_000_000, 'and has not read everything');
    ok($events->conn->is_connected, 'is not given up');
}

# What is not read cannot be judged.
{
    my ($events, $peer) = raw_client($context, ping_interval => 0.05, pong_timeout => 0.05);
    my $conn = $events->conn;
    $conn->pause_recv;
    settle();
    is($events->order, 'connect', 'a paused connection is not judged');
    is(scalar $peer->frames_of(PING), 0, 'and its peer not asked');
    $conn->resume_recv;
    run_unticked(sub { $events->count('close') }, 'it is when it is read again');
}

# 0 turns it off.
{
    my ($events, $peer) = raw_client($context, ping_interval => 0, pong_timeout => 0.05);
    settle();
    is($events->order, 'connect', 'without ping_interval nobody is judged');
    is(scalar $peer->frames_of(PING), 0, 'or asked');
}

# Pings keep no loop alive that nothing else does.
{
    my ($events, $peer) = raw_adopted($context, ping_interval => 1000);
    my $conn = $events->conn;
    $conn->close;
    $peer->send_close(1000);
    run_until(sub { $events->count('close') && $peer->eof }, 'the connection is over');
    undef $context;
    my $timed_out = 0;
    my $watchdog  = EV::timer(20, 0, sub { $timed_out = 1; EV::break });
    $watchdog->keepalive(0);
    EV::run;
    is($timed_out, 0, 'and EV::run returns');
}

finish();
