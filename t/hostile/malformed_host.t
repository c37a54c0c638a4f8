# What Host should not be. A classic of servers that put it into redirects, logs and file
# names; two of them, and each hop believes another.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Hostile;
use RawPeer;
use Run;
use Test::More;

my $victim = victim();
my %host = map { $_ => 400 } '', 'a b', "a\0b", "a\rb", 'a/b', 'a?b', 'a#b', 'user@a', 'a,b', 'a:b', 'a:99999999', '[::1', '::1', 'a]', "a\tb", '<script>', 'a\\b';
my @cases = (map { my $peer = bless {}, 'RawPeer'; [ "Host: $_", '400|101', $peer->request(headers => { Host => $_ }) ] } sort keys %host);
push @cases, [ 'none', 400, RawPeer->request(headers => { Host => undef }) ], [ 'two', 400, RawPeer->request(headers => { Host => [ 'a', 'b' ] }) ];
push @cases, [ "with NUL", 400, RawPeer->request(headers => { Host => "a\0b" }) ], [ 'with CR', 400, RawPeer->request(headers => { Host => "a\rb" }) ];
attack($victim, 'hosts', times => 20, warm => 5, cpu => 2, sub {
    my ($times) = @_;
    $victim->answers((@cases) x $times);
    $victim->meanwhile;
});

finish();
