use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Certificates;
use EV;
use EV::Websockets;
use Leaks;
use Run;

# What TLS takes is given back: Perl values, and the memory of configurations.

my $made = Certificates->new;
$made->ca('ca');
$made->issue($_, issuer => 'ca') for qw(server alice);
my $ca       = $made->file('ca.pem');
my %listen   = $made->listen_with('server');
my %identity = $made->listen_with('alice');
my %all = (
    %listen,
    ssl_ca            => $ca,
    ssl_sni           => { 'a.example.org' => [@listen{qw(ssl_cert ssl_key)}], '*.example.org' => [@listen{qw(ssl_cert ssl_key)}] },
    ssl_verify_client => 1,
    ssl_client_ca     => $ca,
    ssl_alpn          => [qw(a b)],
);

# Runs until $over->(), without a test.
sub await { wait_until($_[0]) or die "timed out\n" }

sub conversation {
    my ($connect, %more) = @_;
    my $over = 0;
    my $context = EV::Websockets::Context->new(ssl_ca => $ca);
    my $port = $context->listen(
        %all,
        on_handshake => sub { $_[1]->tls->{verified} },
        on_connect   => sub { $_[0]->tls; $_[0]->stash->{tls} = $_[0]->tls },
        on_close     => sub { $_[0]->tls; $over++ },
    );
    $more{reload}->($context, $port) if $more{reload};
    $context->connect(
        url        => "wss://localhost:$port/",
        ssl_alpn   => 'b',
        on_connect => sub { $_[0]->tls; $_[0]->close },
        on_close   => sub { $over++ },
        on_error   => sub { $over = 2 },
        @$connect,
    );
    await(sub { $over == 2 });
    return;
}

leaks_nothing('a conversation', sub { conversation([%identity]) });
leaks_nothing('a client that is not let in', sub { conversation([]) });
leaks_nothing('a server that is not believed', sub { conversation([%identity, ssl_server_name => 'elsewhere.example.org']) });
leaks_nothing('files that are read again', sub { conversation([%identity], reload => sub { $_[0]->reload_tls($_[1]) }) });
leaks_nothing('croaks', sub {
    my $context = EV::Websockets::Context->new;
    my $plain = $context->listen;
    for (
        [%all, ssl_client_ca => '/no/such'], [%all, ssl_verify_client => 'maybe'], [%all, ssl_sni => []],
        [%all, ssl_sni => { a => 1 }], [%all, ssl_sni => { a => ['/no/such', '/no/such'] }], [%all, ssl_alpn => ['']],
        [%all, ssl_sni => { '127.0.0.1' => [@listen{qw(ssl_cert ssl_key)}] }], [ssl_alpn => 'a'],
    ) {
        die "did not croak: @$_\n" if eval { $context->listen(@$_); 1 };
    }
    for ($plain, 'x', undef, []) { die "did not croak\n" if eval { $context->reload_tls($_); 1 } }
});

SKIP: {
    skip '/proc does not tell the memory', 1 if !defined rss_kib();
    my $context = EV::Websockets::Context->new;
    my $port = $context->listen(%all);
    my $reload = sub { $context->reload_tls($port) for 1 .. $_[0] };
    $reload->(100);
    my $before = rss_kib();
    $reload->(1500);
    # Each configuration is some ten KiB.
    cmp_ok rss_kib() - $before, '<', 6000, 'files that are read again and again take no more memory';
}

finish;
