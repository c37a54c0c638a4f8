# A certificate that is good for another host. Java-WebSocket looked at the chain, and not
# at the name (CVE-2020-11050).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Certificates;
use Hostile;
use Run;
use Test::More;

my $made = Certificates->new;
$made->ca('ca');
$made->issue('other', issuer => 'ca', san => 'DNS:other.example,IP:127.0.0.2,URI:wss://127.0.0.1/');
$made->issue('none', issuer => 'ca', san => 'DNS:127.0.0.1');
my $victim = victim(context => { ssl_ca => $made->file('ca.pem') });
for my $name (qw(other none)) {
    my $server = victim(listen => { $made->listen_with($name) });
    attack($victim, "the certificate of $name", times => 100, limit => 256, cpu => 4, sub {
        my ($times) = @_;
        ok($victim->fails_to_connect($server->url, $times), 'each is an error');
        $victim->meanwhile;
    });
    like($victim->seen->{last_error}, qr/certificate/, 'which names the certificate');
    is($server->seen->{connect}, undef, 'the server gets no request');
}

finish();
