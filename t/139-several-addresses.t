use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Faults qw(faults_library);
use File::Temp;
use Program;
use Test::More;

# A name with several addresses (RFC 8305): the next one is tried where one refuses or does not answer, the first that is
# connected wins, and nothing is left of the others. t/lib/faults.c finds the addresses, as a resolver would; all are of
# this machine. No test of the module had ever had a name with more than one.

plan skip_all => 'addresses of a whole network are there on Linux only' if $^O ne 'linux';

my $folder  = File::Temp->newdir;
my $library = faults_library($folder);
delete @ENV{qw(http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY)};

my $program = <<'PROGRAM';
use strict;
use warnings;
use EV;
use EV::Websockets;
use IO::Socket::INET;
use Socket;

sub descriptors { opendir my $dir, '/proc/self/fd' or die; return scalar grep { /^\d/ } readdir $dir }

my $context = EV::Websockets::Context->new;
my $port = $context->listen(host => '127.0.0.1');

# An address whose listener has no room for a further connection, so that the kernel drops what asks for one.
my @kept;
sub silent {
    my ($address) = @_;
    socket my $listener, AF_INET, SOCK_STREAM, 0 or die "socket: $!";
    bind $listener, pack_sockaddr_in($port, inet_aton($address)) or die "bind: $!";
    listen $listener, 0 or die "listen: $!";
    push @kept, $listener;
    for (1 .. 100) {
        my $filler = IO::Socket::INET->new(PeerAddr => $address, PeerPort => $port, Timeout => 0.2) or return;
        push @kept, $filler;
    }
    die 'the listener takes everybody';
}
silent($_) for qw(127.0.0.4 127.0.0.5);

my $before;
for my $case (@ARGV) {
    my ($addresses, $timeout) = split m{/}, $case;
    $ENV{EVWS_ADDRESSES} = $addresses;
    my ($conn, $said);
    $conn = $context->connect(
        url             => "ws://many.test:$port/",
        connect_timeout => $timeout || 30,
        on_connect      => sub { $said = 'connected to ' . $_[0]->peer_address; $_[0]->close },
        on_error        => sub { $said = $_[1]; EV::break },
        on_close        => sub { EV::break },
    );
    EV::run;
    $said =~ s/:$port\b/:PORT/g;
    print "$said\n";
    undef $conn;
    # Both ends are gone, and with them what the first connection needs for good.
    EV::run(EV::RUN_NOWAIT) for 1 .. 20;
    my $now = descriptors();
    $before = $now if !defined $before;
    print "$now descriptors, and $before before\n" if $now > $before;
}
PROGRAM

my @cases = (
    ['127.0.0.1', 'connected to 127.0.0.1', 'one address'],
    ['127.0.0.2,127.0.0.3,127.0.0.1', 'connected to 127.0.0.1', 'two refuse'],
    ['127.0.0.1,127.0.0.4', 'connected to 127.0.0.1', 'the first is good'],
    ['127.0.0.4,127.0.0.5,127.0.0.1', 'connected to 127.0.0.1', 'two do not answer'],
    ['127.0.0.4,127.0.0.2,127.0.0.1', 'connected to 127.0.0.1', 'one does not answer, and one refuses'],
    ['127.0.0.2,127.0.0.3', qr/connect to 127\.0\.0\.2:PORT: Connection refused.*127\.0\.0\.3:PORT: Connection refused/, 'all refuse'],
    ['127.0.0.4,127.0.0.5/0.4', qr/\bconnection timed out|\btime/i, 'none answers in time'],
);
local $ENV{LD_PRELOAD} = $library;
my $out = ends_well('several addresses', 60, '-e', $program, map { $_->[0] } @cases);
my @said = split /\n/, $out;
for my $case (@cases) {
    my ($addresses, $expected, $name) = @$case;
    my $line = shift @said;
    ref $expected ? like($line, $expected, $name) : is($line, $expected, $name);
}
is_deeply(\@said, [], 'no descriptor is left');
done_testing();
