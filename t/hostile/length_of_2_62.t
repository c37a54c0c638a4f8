# The head of a frame of 2^62 octets where the program has set no limit, and of 2^63-1 behind a fragment: lengths that
# RFC 6455 allows and nobody can have. A classic of receivers that reserve what is claimed, or add to it.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use EV;
use Frame;
use Hostile;
use RawServer;
use Run;
use Test::More;

my $closed = 0;
my @lengths = ([ 0x40000000, 0 ], [ 0x7fffffff, 0xffffffff ], [ 0x3fffffff, 0xffffffff ], [ 0x00100000, 0 ]);

# What the peer has to say: a head, and some of the payload.
sub claims {
    my ($peer, $n) = @_;
    my $length = $lengths[ $n % @lengths ];
    my $is_second = $n % 3 == 0;
    $peer->send_frame(BINARY, 'x' x 100, fin => 0) if $is_second;
    $peer->put($peer->make($is_second ? CONT : BINARY, 'x' x 5000, claim64 => $length));
    return;
}

my $victim = victim(listen => { max_message_size => 0, deflate => 1 }, connect => { max_message_size => 0, deflate => 0 });
attack($victim, 'as a client', times => 400, warm => 100, limit => 1024, cpu => 3, sub {
    my ($times) = @_;
    my @peers;
    for my $n (1 .. $times) {
        my $peer = $victim->upgraded;
        claims($peer, $n);
        push @peers, $peer;
        next if @peers < 20;
        $victim->meanwhile;
        $_->finish_writing for @peers;
        $closed += @peers;
        wait_until(sub { ($victim->seen->{close} || 0) == $closed }) or fail('they are over');
        $_->hang_up for splice @peers;
    }
});
my $seen = $victim->seen;
is($seen->{'close 1006'} + $seen->{'close 1009'}, $closed, 'each is over when its peer is, in the middle of a frame, or refused as too large');
cmp_ok($seen->{'close 1006'}, '>', $closed / 2, '... most of them wait for what is claimed');

my @peers;
my $server = RawServer->new(answer => sub { $_[0]->accept; claims($_[0], scalar @peers); push @peers, $_[0] });
attack($victim, 'as a server', times => 200, warm => 50, limit => 1024, cpu => 3, sub {
    my ($times) = @_;
    for (1 .. $times / 10) {
        @peers = ();
        $victim->connect('ws://127.0.0.1:' . $server->port . '/') for 1 .. 10;
        wait_until(sub { @peers == 10 }) or fail('they come');
        $victim->meanwhile;
        $_->hang_up(reset => 1) for splice @peers;
        $server->{peers} = [];
    }
});

finish();
