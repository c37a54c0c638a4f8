# The masks of a million frames, and those of a process and of its children. A classic: who forks has two generators that
# say the same, and a script that knows the mask writes what a proxy takes for a request.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use EV;
use Hostile;
use POSIX ();
use RawServer;
use Run;
use Test::More;

# A frame of one octet has 7: two of head, the mask, the octet. Nothing but such frames comes.
my $FRAME = 7;
my @peers;
my $server = RawServer->new(answer => sub { my ($peer, $head) = @_; $peer->accept; push @peers, [ $1, $peer ] if $head =~ m{\AGET /((?!before)\S*)} });
my $port = $server->port;

sub masks_of {
    my ($peer) = @_;
    my $whole = int(length($peer->{in}) / $FRAME);
    my $octets = substr $peer->{in}, 0, $whole * $FRAME, '';
    return unpack '(x2 N x)*', $octets;
}

my $victim = victim(do => sub {
    my ($loop, $words, $done) = @_;
    my ($what, $number) = split ' ', $words;
    my ($context, $more);
    my $begin = sub {
        my ($name, $left) = @_;
        $context->connect(url => "ws://127.0.0.1:$port/$name", ping_interval => 0, deflate => 0,
            on_connect => sub { $more->($_[0]) }, on_drain => sub { $more->($_[0]) }, on_error => sub { warn $_[1] },
            on_close => sub { undef $more; undef $context; $done->() });
        $more = sub {
            my ($conn) = @_;
            my $now = $left > 20_000 ? 20_000 : $left;
            $conn->send('m') for 1 .. $now;
            $left -= $now;
        };
    };
    $context = EV::Websockets::Context->new(loop => $loop);
    return $begin->('parent', $number) if $what ne 'fork';
    # Before a child is there, the context has made some already.
    my $soon;
    my $split = sub {
        undef $soon;
        for my $child (1 .. 3) {
            defined(my $pid = fork) or die "fork: $!";
            next if $pid;
            alarm 60;
            $loop->loop_fork;
            $done = sub { POSIX::_exit(0) };
            $begin->("child$child", $number);
            $loop->run;
            POSIX::_exit(1);
        }
        $begin->('parent', $number);
    };
    my $before; $before = $context->connect(url => "ws://127.0.0.1:$port/before", on_connect => sub {
        $before->send('m') for 1 .. 10;
        undef $before;
        $soon = $loop->timer(0, 0, $split);
    });
});

# Reads them all, and ends the connection.
sub collect {
    my ($entry, $number, $keep) = @_;
    my ($name, $peer) = @$entry;
    my $got = 0;
    my $masks = $keep;
    wait_until(sub { my @now = masks_of($peer); $got += @now; push @$masks, @now; $got >= $number || $peer->eof }) or fail("$name: $got frames");
    is($got, $number, "$name: so many frames");
    $peer->hang_up;
    return;
}

attack($victim, 'a million frames', times => 1_000_000, warm => 50_000, limit => 1024, cpu => 4, sub {
    my ($times) = @_;
    (@peers, my @masks) = ();
    $victim->do("frames $times");
    wait_until(sub { @peers }) or fail('it comes');
    collect($peers[0], $times, \@masks);
    $victim->meanwhile;
    run_until(sub { $victim->seen->{done} }, 'it has ended');
    my ($again, $last) = (0, -1);
    for (sort { $a <=> $b } @masks) { $again++ if $_ == $last; $last = $_ }
    # Of n values out of 2^32, about n^2 / 2^33 are there twice: 116 of a million, by chance.
    cmp_ok($again, '<=', 180, 'hardly a mask comes twice') if $times > 500_000;
});

subtest 'after fork' => sub {
    @peers = ();
    $victim->do('fork 2000');
    run_until(sub { @peers == 4 }, 'a process and three children');
    my (@all, %seen);
    for my $entry (@peers) { collect($entry, 2000, $entry->[2] = []) }
    push @all, @{ $_->[2] } for @peers;
    my $twice = grep { $seen{$_}++ } @all;
    cmp_ok($twice, '<=', 3, 'none has the masks of another');
    run_until(sub { $victim->seen->{done} }, 'it has ended');
};

finish();
