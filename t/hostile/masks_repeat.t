# Masks of a client that can be guessed. curl used one mask for a whole connection
# (CVE-2025-10148): a script can make it write the bytes that a proxy takes for a request.
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

my $victim = victim(connect => { on_connect => sub { $_[0]->stash->{n} = 0; $_[0]->send('m') for 1 .. 5000 },
    on_message => sub { $_[0]->send('m') for 1 .. 5000 } });
my (%masks, $seen, $peer, %first);
my $server = RawServer->new(answer => sub { $peer = $_[0]; $peer->accept });
attack($victim, 'frames of a client', times => 40, warm => 10, cpu => 3, limit => 512, sub {
    my ($times) = @_;
    my $until = 0;
    undef $peer;
    $victim->connect('ws://127.0.0.1:' . $server->port . '/');
    wait_until(sub { $peer });
    for my $n (1 .. $times) {
        $until += 5000;
        wait_until(sub {
            for my $frame (splice @{ $peer->frames }) { $masks{ $frame->{key} }++; $first{ ord $frame->{key} }++; $seen++; $until-- if $frame->{masked} }
            return $until <= 0;
        }) or fail('frames');
        $peer->send_frame(TEXT, 'more of them, which is no echo' x 40) if $n < $times;
    }
    $victim->meanwhile;
    $peer->hang_up;
});
cmp_ok($seen, '>=', 250_000, 'a quarter of a million frames');
# Of n values out of 2^32, about n^2 / 2^33 are there twice: seven.
cmp_ok($seen - keys %masks, '<', 40, 'hardly a mask comes twice');
is(scalar keys %first, 256, 'and each octet takes every value');
cmp_ok((sort { $b <=> $a } values %first)[0], '<', 1.3 * $seen / 256, 'about as often');

finish();
