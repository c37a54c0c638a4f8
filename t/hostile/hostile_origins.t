# Origins of other sites, null, and what a pattern would match. A classic of servers whose
# check is a pattern without \A, \z, or \ before its dots: cross-site WebSocket hijacking.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Hostile;
use RawPeer;
use Run;
use Test::More;

my $victim = victim(listen => { origins => [ 'https://app.example', qr{\Ahttps://[a-z]+\.example\.org\z} ] });
my @foreign = ('null', 'https://evil.example', 'https://appXexample', 'https://app.example.evil.example', 'https://evil.example/?https://app.example',
    'http://app.example', 'https://app.example:444', 'https://app.example@evil.example', 'https://a.example.orgX', 'https://aXexample.org',
    "https://a.example.org\tx", 'file://', '*', '.*', '(?{die})', 'https://(a|b)*.example.org', 'https://' . 'a' x 8000 . '!', 'https://app.example, https://evil.example',
    "https://app.example\\evil", 'HTTPS://EVIL.EXAMPLE', 'https://xn--app-.example', '');
my @cases = map { [ "Origin $_", '400|403', RawPeer->request(headers => { Origin => $_ }) ] } @foreign;
push @cases, [ 'two', '400|403', RawPeer->request(headers => { Origin => [ 'https://app.example', 'https://evil.example' ] }) ];
push @cases, map { [ "Origin $_", 101, RawPeer->request(headers => { Origin => $_ }) ] } 'https://app.example', 'https://a.example.org';
my $neighbour = $victim->upgraded(headers => { Origin => 'https://app.example' });
attack($victim, 'origins', times => 40, warm => 10, cpu => 3, neighbour => $neighbour, limit => 64, sub {
    my ($times) = @_;
    $victim->answers((@cases) x $times);
    $victim->meanwhile;
});
is($victim->seen->{connect}, 1 + 2 * 50, 'nobody else was connected');

finish();
