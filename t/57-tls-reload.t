use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Attempt;
use Certificates;
use Cwd qw(getcwd);
use EV;
use EV::Websockets;
use Events;
use File::Copy qw(copy);
use Run;

# $ctx->reload_tls: certificates that are renewed while the server runs.

my $made = Certificates->new;
$made->ca($_) for qw(ca other);
$made->ca('middle', issuer => 'ca');
$made->issue($_, issuer => 'ca') for qw(first second);
$made->issue($_, issuer => 'middle') for qw(deep);
$made->issue('alice', issuer => 'ca', san => undef);
$made->issue('bob', issuer => 'other', san => undef);
my $ca = $made->file('ca.pem');

# What the listener reads, as copies to be changed.
sub install {
    my (%files) = @_;
    for my $to (keys %files) {
        copy($made->file($files{$to}), $made->file("live_$to")) or die "$to: $!";
    }
    return;
}

my %name_of = map { $made->der($_) => $_ } qw(first second deep);

# The name of the certificate that a new connection sees, or the error.
sub seen {
    my ($context, $port, %o) = @_;
    my $tls;
    my $error = outcome($context, "wss://localhost:$port/", then => sub { $tls = $_[0]->tls }, %o);
    return defined $error ? $error : $name_of{ $tls->{peer_certificate} };
}

my $server  = Events->new;
my $context = EV::Websockets::Context->new(ssl_ca => $ca);
my %live    = map { $_ => $made->file("live_$_") } qw(cert key);
my %listen  = (ssl_cert => $live{cert}, ssl_key => $live{key});

subtest 'another certificate' => sub {
    install(cert => 'first.pem', key => 'first.key');
    my $port = $context->listen(%listen, $server->handlers);
    my $client = Events->new;
    my $conn = $context->connect(url => "wss://localhost:$port/", $client->handlers);
    run_until(sub { $client->count('connect') && $server->count('connect') }, 'a connection');
    my $theirs = $server->conn;

    install(cert => 'second.pem', key => 'second.key');
    is seen(EV::Websockets::Context->new(ssl_ca => $ca), $port), 'first', 'new files alone change nothing';
    is $context->reload_tls($port), undef, 'reload_tls';
    is seen(EV::Websockets::Context->new(ssl_ca => $ca), $port), 'second', 'is what counts';
    # The context that was here before has a ticket of the old certificate.
    is seen($context, $port), 'second', 'also for those who would resume a session';

    $conn->send('still');
    $theirs->send('here');
    run_until(sub { $client->count('message') && grep { $_ eq 'still' } $server->messages }, 'the old connection goes on');
    is $name_of{ $conn->tls->{peer_certificate} }, 'first', 'with what it has';
    $conn->close;
    run_until(sub { $client->count('close') }, 'closed');
};

subtest 'a handshake that has begun' => sub {
    install(cert => 'first.pem', key => 'first.key');
    my $port = $context->listen(%listen);
    my $fresh = EV::Websockets::Context->new(ssl_ca => $ca);
    my ($tls, $error);
    my $conn = $fresh->connect(url => "wss://localhost:$port/", on_error => sub { $error = $_[1] }, on_connect => sub { $tls = $_[0]->tls });
    my $reloads = 0;
    # Between any two steps of it.
    my $every = EV::prepare(sub { $context->reload_tls($port); $reloads++ });
    run_until(sub { $tls || $error }, 'while the files are read again and again');
    is $error, undef, 'succeeds';
    ok $reloads > 1, 'with readings in between';
};

subtest 'all files of a listener' => sub {
    install(cert => 'deep.pem', key => 'deep.key', ca => 'first.pem', client_ca => 'ca.pem', sni => 'first.pem', sni_key => 'first.key');
    my $port = $context->listen(
        %listen,
        ssl_ca            => $made->file('live_ca'),
        ssl_verify_client => 1,
        ssl_client_ca     => $made->file('live_client_ca'),
        ssl_sni           => { 'localhost' => [map { $made->file($_) } 'live_sni', 'live_sni_key'] },
    );
    my %is = map { $_ => [$made->listen_with($_)] } qw(alice bob);
    is seen($context, $port, @{ $is{alice} }), 'first', 'ssl_sni';
    like outcome($context, "wss://127.0.0.1:$port/", @{ $is{alice} }), qr/unknown issuer/, 'without the CA in between';
    like outcome($context, "wss://localhost:$port/", @{ $is{bob} }), qr/unknown CA/, 'ssl_client_ca';

    install(ca => 'middle.pem', client_ca => 'other.pem', sni => 'second.pem', sni_key => 'second.key');
    $context->reload_tls($port);
    is seen($context, $port, @{ $is{bob} }), 'second', 'ssl_sni and ssl_client_ca are read again';
    is outcome($context, "wss://127.0.0.1:$port/", @{ $is{bob} }), undef, 'ssl_ca as well';
    # Her ticket of before is worth nothing.
    like outcome($context, "wss://localhost:$port/", @{ $is{alice} }), qr/unknown CA/, 'who is let in no more is not let in by a ticket';
};

subtest 'files that cannot be used' => sub {
    install(cert => 'first.pem', key => 'first.key');
    my $port = $context->listen(%listen);
    my $fresh = sub { EV::Websockets::Context->new(ssl_ca => $ca) };
    my $garbled = $made->write('garbled', "-----BEGIN CERTIFICATE-----\n####\n-----END CERTIFICATE-----\n");
    for (
        [sub { install(cert => 'second.pem') }, qr{key '\S*live_key': the key does not belong to the certificate in ssl_cert '\S*live_cert'}, 'a key of another'],
        [sub { install(cert => 'garbled') }, qr{ssl_cert '\S*live_cert': a PEM section is not base64}, 'garbage'],
        [sub { unlink $live{cert} }, qr{cannot read ssl_cert '\S*live_cert': No such file}, 'a missing file'],
    ) {
        my ($spoil, $why, $what) = @$_;
        install(cert => 'first.pem', key => 'first.key');
        $spoil->();
        croaks_like { $context->reload_tls($port) } qr/\Areload_tls: (?:ssl_)?$why/, "$what croaks";
        is seen($fresh->(), $port), 'first', 'and the old certificate stays';
    }
    install(cert => 'second.pem', key => 'second.key');
    $context->reload_tls($port);
    is seen($fresh->(), $port), 'second', 'until there is one that can be used';
};

subtest 'where the process has gone meanwhile' => sub {
    install(cert => 'first.pem', key => 'first.key');
    my $home = getcwd();
    chdir $made->file('') or die "chdir: $!";
    my $port = $context->listen(ssl_cert => 'live_cert', ssl_key => './live_key');
    chdir '/' or die "chdir: $!";
    install(cert => 'second.pem', key => 'second.key');
    ok eval { $context->reload_tls($port); 1 }, 'the files are those of the place that listen was called at' or diag $@;
    chdir $home or die "chdir: $!";
    is seen(EV::Websockets::Context->new(ssl_ca => $ca), $port), 'second', 'and nowhere else';
};

subtest 'several listeners at one port' => sub {
    plan skip_all => 'there is no 127.0.0.2 here' if !eval { $context->listen(host => '127.0.0.2') };
    install(cert => 'first.pem', key => 'first.key', sni => 'first.pem', sni_key => 'first.key');
    my %other = (ssl_cert => $made->file('live_sni'), ssl_key => $made->file('live_sni_key'));
    my $port = $context->listen(%listen, host => '127.0.0.1');
    $context->listen(%other, host => '127.0.0.2', port => $port);
    $context->listen(host => '127.0.0.3', port => $port);
    my $seen = sub {
        my $tls;
        outcome(EV::Websockets::Context->new, "wss://$_[0]:$port/", ssl_verify => 0, then => sub { $tls = $_[0]->tls });
        return $name_of{ $tls->{peer_certificate} };
    };
    install(cert => 'second.pem', key => 'second.key', sni => 'second.pem');
    croaks_like { $context->reload_tls($port) } qr/live_sni_key': the key does not belong/, 'one of them cannot';
    is_deeply [map { $seen->($_) } '127.0.0.1', '127.0.0.2'], [qw(first first)], 'so both keep what they had';
    install(sni_key => 'second.key');
    $context->reload_tls($port);
    is_deeply [map { $seen->($_) } '127.0.0.1', '127.0.0.2'], [qw(second second)], 'both read again, and the plain one does not matter';
};

subtest 'what is no listener with TLS' => sub {
    my $plain = $context->listen;
    croaks_with { $context->reload_tls($plain) } "reload_tls: the listener at '$plain' has no TLS", 'a plain listener';
    my $other = EV::Websockets::Context->new;
    install(cert => 'first.pem', key => 'first.key');
    my $elsewhere = $other->listen(%listen);
    croaks_with { $context->reload_tls($elsewhere) } "reload_tls: nothing listens at '$elsewhere'", 'one of another context';
    croaks_with { $context->reload_tls($_) } "reload_tls: nothing listens at '$_'", "'$_'"
        for 0, 65536, '99999999999999999999', -1, 1.5, 'x', '';
    croaks_with { $context->reload_tls(undef) } "reload_tls: give a port or the path of a Unix socket (got 'undef')", 'undef';
    croaks_like { $context->reload_tls([]) } qr/\Areload_tls: give a port or the path/, 'a reference';
    croaks_like { $context->reload_tls } qr/\AUsage: /, 'nothing';
    my $stopped = $context->listen(%listen);
    $context->stop_listening($stopped);
    croaks_with { $context->reload_tls($stopped) } "reload_tls: nothing listens at '$stopped'", 'one that was stopped';
    $other->DESTROY;
    croaks_with { $other->reload_tls($elsewhere) } 'Context has been destroyed', 'a destroyed context';
};

subtest 'a Unix socket' => sub {
    install(cert => 'first.pem', key => 'first.key');
    my $path = $made->file('sock');
    $context->listen(%listen, path => $path);
    install(cert => 'garbled');
    croaks_like { $context->reload_tls($path) } qr/\Areload_tls: ssl_cert '\S*live_cert': a PEM section is not base64/, 'is found by its path';
};

finish;
