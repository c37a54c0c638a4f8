# Connections with TLS that are destroyed, in each callback, while they close: by abort, by a second close, and by the last
# reference to them and to their context. A classic of engines that come back from a callback to a session that is gone.
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
$made->issue('server', issuer => 'ca');
my %tls = $made->listen_with('server');
my @callbacks = qw(handshake connect message pong drain close error);
my @how = (
    sub { $_[0]->abort },
    sub { $_[0]->close(4000, 'first'); $_[0]->close(4001, 'second'); $_[0]->abort },
    sub { $_[0]->close; undef $_[0]; undef ${ $_[1] } },
    sub { undef ${ $_[1] }; $_[0]->close; undef $_[0] },
);
my @cases = map { my $end = $_; map { my $callback = $_; map { [ $end, $callback, $_ ] } 0 .. $#how } @callbacks } 'server', 'client';

my $victim = victim(do => sub {
    my ($loop, $times, $done) = @_;
    my @left = (@cases) x $times;
    my $again;
    $again = sub {
        my $case = shift @left or return do { undef $again; $done->() };
        my ($which, $callback, $how) = @$case;
        my $client = EV::Websockets::Context->new(loop => $loop, ssl_ca => $made->file('ca.pem'));
        my $server = EV::Websockets::Context->new(loop => $loop);
        my ($acted, %conn, $soon);
        my $over = sub { $soon ||= $loop->timer(0, 0, sub { undef $_ for $soon, $client, $server, values %conn; $again->() }) };
        my $act = sub {
            my ($end, $at) = @_;
            return if $end ne $which || $at ne $callback || $acted++ || !$conn{$end};
            $how[$how]->($conn{$end}, $end eq 'server' ? \$server : \$client);
            $over->();
        };
        my $on = sub {
            my ($end) = @_;
            return (
                on_connect => sub { $conn{$end} = $_[0]; $_[0]->send('x' x 100_000); $_[0]->send_ping('p'); $act->($end, 'connect') },
                # Both ends close at once, with much on the way; one of them breaks the other's limit.
                on_message => sub { $act->($end, 'message'); $conn{$end}->send('y' x 300_000) if $callback eq 'error' && $conn{$end}; $conn{$end} && $conn{$end}->close },
                on_pong    => sub { $act->($end, 'pong') },
                on_drain   => sub { $act->($end, 'drain') },
                on_error   => sub { $act->($end, 'error') },
                on_close   => sub { $act->($end, 'close'); $over->() },
            );
        };
        my %limit = (max_message_size => 200_000);
        my $port = $server->listen(%tls, %limit, $on->('server'), on_handshake => sub {
            my ($headers, $handshake) = @_;
            if ($callback eq 'handshake' && $which eq 'server') { $how < 2 ? $handshake->reject : undef $server; $over->(); return 0 }
            return 1;
        });
        $conn{client} = $client->connect(url => "wss://127.0.0.1:$port/", %limit, $on->('client'));
        if ($callback eq 'handshake' && $which eq 'client') { $how[$how]->($conn{client}, \$client); $over->() }
    };
    $again->();
});
attack($victim, 'connections with TLS', times => 3, warm => 1, limit => 4096, cpu => 8, sub {
    my ($times) = @_;
    $victim->do($times);
    $victim->meanwhile for 1 .. 20;
    run_until(sub { $victim->seen->{done} }, 'all have gone');
});

finish();
