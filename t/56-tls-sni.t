use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Attempt;
use Certificates;
use EV;
use EV::Websockets;
use Events;
use Run;

# One listener with several certificates: which one a client is shown, by the
# name that it asks for.

my $made = Certificates->new;
$made->ca('ca');
$made->issue('own', issuer => 'ca');
$made->issue('shop', issuer => 'ca', san => 'DNS:shop.example.org');
$made->issue('wild', issuer => 'ca', san => 'DNS:*.example.org');
my $ca = $made->file('ca.pem');
sub files { return [map { $made->file("$_[0].$_") } qw(pem key)] }

my %name_of = map { $made->der($_) => $_ } qw(own shop wild);

my $server  = Events->new;
my $context = EV::Websockets::Context->new(ssl_ca => $ca);
my $port    = $context->listen(
    $made->listen_with('own'),
    ssl_sni => { 'Shop.Example.org' => files('shop'), '*.example.org' => files('wild') },
    $server->handlers,
);

for (
    ['shop.example.org',     'shop', 'a name'],
    ['SHOP.example.ORG',     'shop', 'in any case'],
    ['chat.example.org',     'wild', 'a wildcard'],
    ['CHAT.Example.org',     'wild', 'in any case'],
    ['a.chat.example.org',   'own',  'which stands for one label, not for two'],
    ['example.org',          'own',  'nor for none'],
    ['other.example',        'own',  'another name'],
    ['localhost',            'own',  'a name without a dot'],
    ['127.0.0.1',            'own',  'an address, which is not asked for'],
) {
    my ($asked, $expected, $what) = @$_;
    $server->forget;
    my ($ours, $theirs);
    my $fresh = EV::Websockets::Context->new;
    my $error = outcome($fresh, "wss://127.0.0.1:$port/", ssl_server_name => $asked, ssl_verify => 0, then => sub {
        run_until(sub { $server->count('connect') }, 'the server has it too');
        ($ours, $theirs) = ($_[0]->tls, $server->conn->tls);
    });
    is $error, undef, 'connected';
    is $name_of{ $ours->{peer_certificate} }, $expected, "$what: $asked";
    is $theirs->{server_name}, $asked =~ /^[0-9]/ ? undef : lc $asked, 'which the server knows';
}
is outcome($context, "wss://127.0.0.1:$port/", ssl_server_name => 'shop.example.org'), undef, 'it is the right one for a client that looks';
is outcome($context, "wss://127.0.0.1:$port/", ssl_server_name => 'any.example.org'), undef, 'and so is that of the wildcard';
like outcome($context, "wss://127.0.0.1:$port/", ssl_server_name => 'example.org'), qr/not valid for name/, 'where there is none, it is not';

my $failed = qr/\Alisten: /;
my @own = $made->listen_with('own');
for (
    [{ 'a.org' => ['/no/such.pem', $made->file('shop.key')] }, qr{${failed}ssl_sni 'a\.org': cannot read certificate '/no/such\.pem': No such file}],
    [{ 'a.org' => [$made->file('shop.pem'), '/no/such.key'] }, qr{${failed}ssl_sni 'a\.org': cannot read key '/no/such\.key': No such file}],
    [{ 'a.org' => [$made->file('shop.pem'), $made->file('wild.key')] },
        qr{${failed}ssl_sni 'a\.org': key '.*wild\.key': the key does not belong to the certificate in certificate '.*shop\.pem'}],
    [{ 'a.org' => [reverse @{ files('shop') }] }, qr{${failed}ssl_sni 'a\.org': certificate '.*shop\.key': there is no PEM certificate}],
    (map { [{ $_ => files('shop') }, qr{${failed}ssl_sni '\Q@{[/^caf/ ? 'caf' : "$_'"]}\E.*: it is neither a host name}] }
        '', '*', '*.', 'a.*.org', '*a.org', 'a b', '127.0.0.1', '::1', '.a.org', "caf\xe9.org"),
    [{ 'a.org' => files('shop'), 'A.ORG' => files('wild') }, qr{${failed}ssl_sni 'a\.org': the same name is there twice}i],
    [{ 'a.org' => 'shop.pem' }, qr{\Alisten: ssl_sni 'a\.org' must be an array reference of two files}],
    [{ 'a.org' => undef }, qr{\Alisten: ssl_sni 'a\.org' must be an array reference of two files}],
    [{ 'a.org' => [1, 2, 3] }, qr{\Alisten: ssl_sni 'a\.org' must be an array reference of two files}],
    [{ 'a.org' => [$made->file('shop.pem'), undef] }, qr{\Alisten: ssl_sni 'a\.org': the key must be the name of a file}],
    [{ 'a.org' => [[], $made->file('shop.key')] }, qr{\Alisten: ssl_sni 'a\.org': the certificate must be the name of a file}],
    ['a.org', qr{\Alisten: ssl_sni must be a hash reference \(got 'a\.org'\)}],
    [undef, qr{\Alisten: ssl_sni must be a hash reference \(got 'undef'\)}],
) {
    my ($sni, $why) = @$_;
    my ($host, $files) = ref $sni ? %$sni : $sni;
    croaks_like { $context->listen(@own, ssl_sni => $sni) } $why, 'croaks: ' . (defined $host ? $host : 'undef')
        . (ref $files ? " @{[map { defined && m{([^/]+)\z} ? $1 : 'undef' } @$files]}" : '');
}
croaks_like { $context->listen(ssl_sni => { 'a.org' => files('shop') }) }
    qr/\Alisten: ssl_sni is for TLS, which needs ssl_cert and ssl_key/, 'croaks: without a certificate of its own';
is outcome($context, 'wss://localhost:' . $context->listen(@own, ssl_sni => {}) . '/'), undef, 'no names are none';

finish;
