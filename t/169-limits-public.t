use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Adopt ();
use Events;
use Frame;
use Limited;
use RawEnds;
use RawPeer;
use Run;
use Test::More;

# limits => 'public': all limits at once, with values for the open internet. What is given
# beside it counts. The values are those of the table in EV::Websockets::Limits.

croaks_everywhere('limits', q{must be 'public'}, 'private', 'Public', '', 0, 1);
croaks_everywhere('limits', 'must be a string', [], {});

my $context = EV::Websockets::Context->new;
my $other   = bystander($context);

sub ended {
    my ($name, $code, $peer, $events) = @_;
    run_until(sub { $events->count('close') }, "$name: the end");
    is($events->last_of('close')->[0], $code, "$name: $code");
    is_served($other, $name);
    return;
}

for my $made (\&raw_client, \&raw_server, \&raw_adopted) {
    my $role = $made == \&raw_client ? 'listen' : $made == \&raw_server ? 'connect' : 'adopt';
    my $public = sub { $made->($context, limits => 'public', @_) };

    my ($events, $peer) = $public->();
    $peer->send_frame(BINARY, 'x' x 1048576);
    run_until(sub { $events->count('message') }, "$role: a message of 1 MiB");
    $peer->send_frame(BINARY, 'x' x 1048577);
    ended("$role: a longer one", 1009, $peer, $events);

    ($events, $peer) = $public->();
    $peer->put(join '', map { $peer->make($_ == 1 ? TEXT : CONT, '', fin => $_ == 4096) } 1 .. 4096);
    run_until(sub { $events->count('message') }, "$role: a message in 4096 frames");
    $peer->put(join '', map { $peer->make($_ == 1 ? TEXT : CONT, '', fin => 0) } 1 .. 4097);
    ended("$role: in more", 1009, $peer, $events);

    ($events, $peer) = $public->();
    $peer->stop_reading;
    my $c = $events->conn;
    1 while $c->is_connected && $c->send('x' x 65536);
    ended("$role: more than 1 MiB in the queue", 1013, $peer, $events);

    my @told;
    ($events, $peer) = $public->(on_limit => sub { push @told, $_[1] });
    $peer->put($peer->make(TEXT, 'm') x 1010);
    if ($role eq 'connect') {
        run_until(sub { $events->count('message') == 1010 }, 'connect: messages at any rate');
        is(scalar @told, 0, 'connect: nobody waits');
    }
    else {
        run_unticked(sub { $events->count('message') == 1010 }, "$role: more than 1000 messages at once");
      SKIP: {
            skip 'no thousand messages come within a second', 1 if is_slowed();
            is_deeply(\@told, ['max_message_rate'], "$role: have to wait");
        }
    }

    # What is given counts.
    ($events, $peer) = $public->(
        max_message_size => 0, max_fragments => 5000, max_send_queue => 0, max_message_rate => 0, max_byte_rate => 0,
    );
    $peer->send_frame(BINARY, 'x' x 8_000_000);
    $peer->put(join '', map { $peer->make($_ == 1 ? TEXT : CONT, '', fin => $_ == 5000) } 1 .. 5000);
    $peer->put($peer->make(TEXT, 'm') x 2000);
    run_until(sub { $events->count('message') == 2002 }, "$role: limits that are given");
    $events->conn->send('x' x 1_000_000) for 1 .. 3;
    ok($events->conn->is_connected, "$role: replace those of the public ones");
    ($events, $peer) = $public->(max_message_size => undef);
    $peer->send_frame(BINARY, 'x' x 1048577);
    ended("$role: undef is not given", 1009, $peer, $events);
}

# Many from one address.
{
    my $port  = $context->listen(host => '127.0.0.1', limits => 'public');
    my @peers = map { RawPeer->connect($port)->upgrade } 1 .. 101;
    run_until(sub { !grep { !defined $_->head } @peers }, '101 connections from one address');
    is(scalar(grep { $_->status == 101 } @peers), 100, 'of which 100 are let in');
    is($peers[-1]->status, 503, 'and the last one is not');
}

# Not given.
{
    my $events = Events->new;
    my $port   = $context->listen(host => '127.0.0.1', $events->handlers);
    my $peer   = RawPeer->connect($port)->upgrade;
    run_until(sub { $peer->head }, 'without public limits');
    $peer->send_frame(BINARY, 'x' x 2_000_000);
    run_until(sub { $events->count('message') }, 'a message may have 2 MB');
}

# Beside options that exclude each other.
{
    my ($near, $far) = Adopt::unix_pair();
    my $events = Events->new;
    my $conn = $context->adopt(fh => $near, upgraded => 1, limits => 'public', $events->handlers);
    my $peer = Adopt::peer_on($far);
    run_until(sub { $events->count('connect') }, 'a connection that was upgraded before');
    require IO::Socket::INET;
    my $fh = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 5);
    ok($context->listen(fd => $fh, limits => 'public'), 'a socket that listens already');
}

finish();
