#!/usr/bin/perl
# Idle TLS connections to a server that keeps each $conn, which is this process: the memory (VmRSS) one of them takes in
# it, before and after a message on each. The clients are a process of their own.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Certificate;
use Getopt::Long;
use Measure qw(all_descriptors fork_peer line rss whole);

all_descriptors();
my $connections = 10_000;
GetOptions('connections=s' => \$connections) && !@ARGV or die "usage: idle_tls.pl [--connections N]\n";
$connections = whole('connections', $connections, 10);

# The first are not counted: with them comes what all share.
my $first  = int($connections / 10);
my $secure = Certificate->new('ecdsa');
my $peer   = fork_peer(\&clients);
my $context = EV::Websockets::Context->new(proxy => '');
my ($messages, %conns, @rss) = (0);
my $port = $context->listen(
    port       => 0,
    $secure->server,
    on_connect => sub {
        $conns{ 0 + $_[0] } = $_[0];
        push @rss, rss() if keys %conns == $first;
        # The threads that the crowd had are not idle connections.
        rest(sub { push @rss, rss(); $_->send('go') for values %conns }) if keys %conns == $connections;
    },
    on_message => sub { rest(sub { push @rss, rss(); EV::break }) if ++$messages == $connections },
);
$peer->start($port);
EV::run;
$peer->stop;
my ($bytes, $after) = map { 1024 * ($_ - $rss[0]) / ($connections - $first) } @rss[1, 2];
line('idle_tls', connections => $connections, rss_kib => $rss[1], bytes => $bytes, bytes_after_message => $after);

sub rest {
    my ($code) = @_;
    my $timer; $timer = EV::timer 1, 0, sub { undef $timer; $code->() };
    return;
}

sub clients {
    my ($port) = @_;
    my $context = EV::Websockets::Context->new(proxy => '', $secure->client);
    my $opened  = 0;
    my $next; $next = sub {
        return if $opened++ >= $connections;
        $context->connect(
            url        => "wss://127.0.0.1:$port/",
            on_connect => $next,
            on_message => sub { $_[0]->send($_[1]) },
            on_error   => sub { die "a client: $_[1]\n" },
        );
    };
    $next->() for 1 .. 4;
    EV::run;
    return;
}
