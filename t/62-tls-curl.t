use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Certificates;
use EV;
use EV::Websockets;
use Events;
use Frame;
use ServerProgram;
use Run;

# curl as a client of a listener with TLS: it offers HTTP/2, knows SNI and client
# certificates, and has its own mind about who is to be trusted.

my $curl = ServerProgram::find('curl') or plan skip_all => 'curl is not installed';

my $made = Certificates->new;
$made->ca('ca');
$made->issue('server', issuer => 'ca');
$made->issue('shop',  issuer => 'ca', san => 'DNS:shop.example.org');
$made->issue('alice', issuer => 'ca', san => undef);
my @believing = ('--cacert', $made->file('ca.pem'));

my $server  = Events->new;
my $context = EV::Websockets::Context->new;
my $greet   = sub { $_[0]->send('good day'); $_[0]->close(1000, 'bye') };
my %listen  = ($made->listen_with('server'), $server->handlers(on_connect => $greet));
my $port    = $context->listen(%listen, ssl_sni => { 'shop.example.org' => [map { $made->file("shop.$_") } qw(pem key)] });

my @upgrade = map { ('-H', $_) } 'Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==';

# What it prints, and its exit status. It would wait for the end of a WebSocket,
# and does not answer a Close: with until => $regex it is ended when that was printed.
sub curl {
    my (@arguments) = @_;
    my $until = $arguments[0] eq 'until' ? (splice @arguments, 0, 2)[1] : undef;
    $server->forget;
    # -q: no .curlrc
    my $pid = open my $out, '-|', $curl, '-q', qw(-sS --noproxy * --max-time 60 --no-buffer), @arguments or die "curl: $!";
    binmode $out;
    my ($got, $ended, $status) = ('', 0, undef);
    my $watcher = EV::io($out, EV::READ(), sub { sysread $out, $got, 65536, length $got or $ended = 1 });
    # EV waits for every child there is: close would find none.
    my $child = EV::child($pid, 0, sub { $status = $_[0]->rstatus });
    run_until(sub { $ended && defined $status || $until && $got =~ $until }, 'curl has ended, or has what it came for');
    kill 'KILL', $pid if !defined $status;
    wait_until(sub { defined $status });
    undef $watcher;
    close $out;
    return ($got, $status >> 8);
}

subtest 'an upgrade' => sub {
    my ($got) = curl(until => qr/bye/, '--http1.1', '-i', @believing, @upgrade, "https://localhost:$port/chat");
    my ($head, $rest) = split /\r\n\r\n/, $got, 2;
    like $head, qr{\AHTTP/1\.1 101 }, 'is accepted';
    my @frames;
    while (my $frame = take_frame(\$rest)) { push @frames, $frame }
    is_deeply [map { $_->{payload} } @frames], ['good day', close_payload(1000, 'bye')], 'and frames';
    is $server->last_of('connect')->[0]{Path}, '/chat', 'the request';
};

subtest 'HTTP/2 is offered, and not taken' => sub {
    my ($got, $status) = curl('-i', '-w', 'version %{http_version}', @believing, "https://localhost:$port/");
    is $status, 0, 'a request that is no upgrade';
    like $got, qr{\AHTTP/1\.1 426 Upgrade Required}, 'is answered with 426';
    like $got, qr/version 1\.1\z/, 'by HTTP/1.1';
};

subtest 'the certificate by name' => sub {
    for my $name (qw(shop.example.org other.example.org)) {
        my ($got, $status) = curl('-o', '/dev/null', '-w', '%{http_code}', '--stderr', '-', @believing,
            '--resolve', "$name:$port:127.0.0.1", "https://$name:$port/");
        $name =~ /shop/ ? is $got, '426', 'curl finds the name in it' : is $status, 60, 'for another name there is none';
    }
    is +(curl('-o', '/dev/null', '--stderr', '/dev/null', "https://localhost:$port/"))[1], 60, 'without --cacert it does not believe it';
};

subtest 'client certificates' => sub {
    my $strict = $context->listen(%listen, ssl_verify_client => 1, ssl_client_ca => $made->file('ca.pem'));
    my @identity = ('--cert', $made->file('alice.pem'), '--key', $made->file('alice.key'));
    for my $version (['--tlsv1.2', '--tls-max', '1.2'], ['--tlsv1.3']) {
        my ($got, $status) = curl(until => qr/bye/, '--http1.1', '-i', @$version, @believing, @identity, @upgrade, "https://localhost:$strict/");
        like $got, qr{\AHTTP/1\.1 101 }, "@$version: let in";
        ($got, $status) = curl('--http1.1', '--stderr', '-', @$version, @believing, @upgrade, "https://localhost:$strict/");
        ok $status, "@$version: not without";
        like $got, qr/alert|certificate required|handshake failure/i, 'by an alert';
        is $server->count('connect'), 0, 'of which the program is not told';
    }
};

finish;
