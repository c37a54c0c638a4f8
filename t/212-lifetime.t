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

# idle_timeout and max_lifetime: connections that are closed because nobody says anything, or because
# they are old.

my $context = EV::Websockets::Context->new;

croaks_everywhere($_, 'must be a non-negative number', -1, 'soon', 'nan', 'inf') for qw(idle_timeout max_lifetime);

for my $case ([ idle_timeout => 'idle' ], [ max_lifetime => 'lifetime' ]) {
    my ($option, $reason) = @$case;
    for my $made (\&raw_client, \&raw_server, \&raw_adopted) {
        my ($events, $peer) = $made->($context, $option => 0.1);
        run_unticked(sub { $peer->close_read }, "$option is over");
        is_deeply([ $peer->close_read ], [ 1001, $reason ], 'the Close says why');
        is($events->conn->state, 'closing', 'the peer is waited for');
        $peer->send_close(1001);
        run_until(sub { $events->count('close') }, 'its answer');
        is($events->order, 'connect close', 'ends the connection without an error');
        is_deeply($events->last_of('close'), [ 1001, undef ], 'with its code');
    }
}

# Messages begin the time anew, in either direction.
for my $way ('received', 'sent') {
    my ($events, $peer) = raw_client($context, idle_timeout => 0.5);
    my $rounds = 0;
    my $timer  = EV::timer(0.1, 0.1, sub {
        $rounds++;
        $way eq 'sent' ? $events->conn->send('x') : $peer->send_frame(TEXT, 'x');
    });
    run_until(sub { $rounds == 10 || $peer->close_read }, "messages are $way");
    ok(!$peer->close_read, 'nobody is idle');
    undef $timer;
    run_unticked(sub { $peer->close_read }, 'and then nobody says anything');
}

# Pings are no messages.
{
    my ($events, $peer) = raw_client($context, idle_timeout => 0.3);
    my $timer = EV::timer(0.05, 0.05, sub { $peer->send_frame(PING, 'x') });
    run_until(sub { $peer->close_read }, 'who only pings is idle');
}

# While a message was unfinished, any byte counted: one fragment and a Pong now and then, and the peer was never idle.
{
    my ($events, $peer) = raw_client($context, idle_timeout => 0.3, ping_interval => 0);
    $peer->send_frame(TEXT, 'a', fin => 0);
    my $timer = EV::timer(0.05, 0.05, sub { $peer->send_frame(PONG, 'x') });
    run_until(sub { $peer->close_read }, 'who lets a fragment lie, and only sends Pongs, is idle');
}

# Fragments that follow each other are no silence.
{
    my ($events, $peer) = raw_client($context, idle_timeout => 0.4, ping_interval => 0);
    my $rounds = 0;
    my $timer = EV::timer(0, 0.1, sub { $peer->send_frame($rounds++ ? CONT : TEXT, 'a', fin => $rounds == 10) });
    run_until(sub { $events->messages || $peer->close_read }, 'a message in fragments that takes longer than idle_timeout');
    is_deeply([ $events->messages ], [ 'a' x 10 ], 'arrives');
}

# A message that takes long is not nothing.
{
    my ($events, $peer) = raw_client($context, idle_timeout => 0.4, ping_interval => 0);
    my $text  = $peer->make(TEXT, 'slowly');
    my $timer = EV::timer(0.1, 0.1, sub { $peer->put(substr $text, 0, 1, '') });
    run_until(sub { $events->messages || $peer->close_read }, 'a message that takes longer than idle_timeout');
    is_deeply([ $events->messages ], ['slowly'], 'arrives');
}

finish();
