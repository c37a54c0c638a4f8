# Upgrades by HTTP/1.0, by other methods, and by what is no HTTP. A classic of handshakes
# that look at the headers alone: a form of another site can send those of a POST.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Hostile;
use RawPeer;
use Run;
use Test::More;

my $victim = victim();
my @cases = (
    (map { [ $_, '400|426|505', RawPeer->request(version => $_) ] } 'HTTP/1.0', 'HTTP/0.9', 'HTTP/2.0', 'HTTP/1.2', 'HTTP/3', 'http/1.1', 'HTTP/1.1 x', 'HTTP/01.1', 'FTP/1.1'),
    (map { [ $_, '400|405|426', RawPeer->request(method => $_) ] } qw(POST PUT HEAD OPTIONS CONNECT get TRACE), 'G E T', 'x' x 5000),
    (map { [ "target $_", '400|403|404|426', RawPeer->request(path => $_) ] } 'a', "/\0", "/\x7f"),
);
attack($victim, 'requests of another kind', times => 20, warm => 5, cpu => 2, sub {
    my ($times) = @_;
    $victim->answers((@cases) x $times);
    $victim->meanwhile;
});
is($victim->seen->{connect}, 1, 'nobody but the neighbour was connected');

finish();
