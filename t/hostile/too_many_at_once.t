# More connections than the listener takes, and more from one address. A classic of servers
# that count those which are upgraded: the others are free.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Hostile;
use RawPeer;
use Run;
use Test::More;

my $victim = victim(listen => { max_connections => 50 });
attack($victim, '1000 connections, of which 50 may be there', times => 1000, limit => 192, cpu => 3, sub {
    my ($times) = @_;
    my @peers;
    for my $n (1 .. $times / 100) {
        push @peers, $victim->crowd(100, sub { $_[0]->upgrade }, sub { defined $_[0]->head || $_[0]->eof }, 'a hundred more are answered');
    }
    $victim->meanwhile;
    is(scalar(grep { ($_->status || 0) == 101 } @peers), 49, 'the neighbour and 49 others are there');
    is(scalar(grep { ($_->status || 503) !~ /\A(?:101|503)\z/ } @peers), 0, 'the others have 503');
    my $closed = $victim->seen->{close} || 0;
    $_->hang_up for @peers;
    run_until(sub { ($victim->seen->{close} || 0) == $closed + 49 }, 'those 49 go');
});

finish();
