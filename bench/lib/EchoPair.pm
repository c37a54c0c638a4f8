package EchoPair;

# A server and a client on the loop of this one process, plain or with TLS: the client keeps messages in flight and checks the echoes.

use strict;
use warnings;
use EV;
use EV::Websockets;
use Certificate;
use Measure qw(clocks);

sub new {
    my ($class, $size, $tls) = @_;
    my $secure  = $tls && Certificate->new('ecdsa');
    my $context = EV::Websockets::Context->new(proxy => '', $secure ? $secure->client : ());
    my $port = $context->listen(
        $secure ? $secure->server : (),
        port       => 0,
        on_message => sub { $_[0]->send_binary($_[1]) },
        on_error   => sub { warn "server: $_[1]\n"; EV::break },
    );
    my $payload = join '', map { chr(32 + $_ % 95) } 1 .. $size;
    my $url = sprintf '%s://127.0.0.1:%d/', $secure ? 'wss' : 'ws', $port;
    # The files are read when the first client connects.
    return bless { context => $context, url => $url, payload => $payload, secure => $secure }, $class;
}

# Echoes $count messages, $in_flight at a time, over a connection of its own; returns wall and CPU seconds.
sub run {
    my ($self, $in_flight, $count) = @_;
    my ($to_come, $wrong, $failure) = ($count, 0, '');
    $in_flight = $count if $in_flight > $count;
    my $payload = $self->{payload};
    my ($wall, $cpu);
    my $client = $self->{context}->connect(
        url        => $self->{url},
        on_connect => sub {
            ($wall, $cpu) = clocks();
            $_[0]->send_binary($payload) for 1 .. $in_flight;
        },
        on_message => sub {
            $_[1] eq $payload or $wrong++;
            --$to_come >= $in_flight ? $_[0]->send_binary($payload) : $to_come || EV::break;
        },
        on_error => sub { $failure = $_[1]; EV::break },
    );
    EV::run;
    my ($wall_end, $cpu_end) = clocks();
    die "$wrong of $count echoes differ\n" if $wrong;
    die "$to_come of $count echoes are missing: $failure\n" if $to_come;
    $client->close;
    return ($wall_end - $wall, $cpu_end - $cpu);
}

1;
