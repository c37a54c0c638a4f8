use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Deflate;
use DeflatePeer;
use EV;
use EV::Websockets;
use Frame;
use Run;
use Test::More;

# A compressed message that is cut short. 190 of 1,677 cuts of a message like
# this one were delivered, with a few octets at the end that nobody had sent:
# the four that a receiver appends went for codes of the block that was cut.

my %takeover = (server_no_context_takeover => 0, client_no_context_takeover => 0);
my %none     = (server_no_context_takeover => 1, client_no_context_takeover => 1);

my ($state, $text) = (1, '');
while (length $text < 3000) {
    $state = ($state * 1_103_515_245 + 12_345) % 2_147_483_648;
    $text .= substr 'abcdefghijkl, .', ($state >> 16) % 15, 1;
}
my $whole = Deflate->new(level => 9)->message($text);

sub outcome {
    my ($role, $options, $payload) = @_;
    my $ext = 'permessage-deflate' . ($options == \%none ? '; server_no_context_takeover; client_no_context_takeover' : '');
    my $it = DeflatePeer->open(role => $role, deflate => $options, ext => $ext);
    $it->send_compressed(BINARY, $payload);
    my ($peer, $events) = ($it->peer, $it->events);
    wait_until(sub { $events->count('message') || $peer->close_read }) or return 'nothing';
    return $events->count('message') ? 'message ' . $events->last_of('message')->[0] : ($peer->close_read)[0];
}

for my $role (qw(server client)) {
    # All of them are tried in rust/proto/tests/deflate_cuts.rs.
    my $step = $role eq 'server' ? 5 : 23;
    my @cuts = grep { $_ % $step == 0 || $_ > length($whole) - 8 } 1 .. length($whole) - 1;
    for my $options (\%takeover, \%none) {
        my $how = $options == \%none ? 'no takeover' : 'takeover';
        my %seen;
        $seen{ substr outcome($role, $options, substr $whole, 0, $_), 0, 7 }++ for @cuts;
        is_deeply(\%seen, { 1007 => scalar @cuts }, "$role, $how: no cut is delivered, all fail with 1007");
        is(outcome($role, $options, $whole), "message $text", "$role, $how: the whole of it is delivered");
    }
}

# The same in a block without compression, and of a message that ends with BFINAL.
my $stored = Deflate->new(level => 0)->message('Hello');
my $final  = Deflate->new->final_message('Hello' x 10);
chop $final;
for my $case ([ 'a stored block', $stored ], [ 'BFINAL', $final ]) {
    my ($name, $payload) = @$case;
    like(outcome('server', \%takeover, $payload), qr/^message (?:Hello)+\z/, "$name, whole");
    my %seen;
    $seen{ outcome('server', \%takeover, substr $payload, 0, $_) }++ for 2 .. length($payload) - 1;
    is_deeply([ keys %seen ], [1007], "$name, cut");
}

done_testing;
