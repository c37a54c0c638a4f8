# Extensions and parameters with the names of what every object of a language has. ws for
# Node.js took "constructor" for one that it knew, and crashed (before 1.1.5 and 3.3.1).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use RawPeer;
use Run;
use Test::More;

my @names = qw(constructor __proto__ toString hasOwnProperty prototype __class__ __init__ DESTROY AUTOLOAD can isa ISA CLONE import);
my $victim = victim(listen => { deflate => 1, protocol => 'chat' });
attack($victim, 'names of methods', times => 10, warm => 2, cpu => 2, sub {
    my ($times) = @_;
    for my $name ((@names) x $times) {
        for my $offer ($name, ",;$name", "permessage-deflate; $name", "permessage-deflate; $name=$name", "$name; $name=\"$name\"") {
            my $peer = $victim->upgraded(headers => { 'Sec-WebSocket-Extensions' => $offer, 'Sec-WebSocket-Protocol' => $name, $name => $name });
            is(join(' ', $peer->header('Sec-WebSocket-Extensions'), $peer->header('Sec-WebSocket-Protocol')), '', "nothing agreed on: $offer")
                if $peer->header('Sec-WebSocket-Extensions') || $peer->header('Sec-WebSocket-Protocol');
            $peer->status && $peer->status =~ /\A(?:101|400)\z/ or fail("answered: $offer");
            $peer->hang_up;
        }
    }
    $victim->meanwhile;
});

finish();
