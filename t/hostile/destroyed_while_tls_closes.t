# Contexts that are destroyed while TLS connections close, in each callback. A classic of
# engines that write their close_notify when the object is gone.
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
my $victim = victim(do => sub {
    my ($loop, $left, $done) = @_;
    my $again;
    $again = sub {
        return $done->() if !$left;
        my $which = $left-- % 4;
        my $server = EV::Websockets::Context->new(loop => $loop);
        my $client = EV::Websockets::Context->new(loop => $loop, ssl_ca => $made->file('ca.pem'));
        my $destroy = sub {
            my ($where) = @_;
            return if $where != $which || !$server;
            undef $server;
            undef $client;
            my $soon;
            $soon = $loop->timer(0, 0, sub { undef $soon; $again->() });
        };
        my $port = $server->listen(%tls, on_connect => sub { $destroy->(0) }, on_message => sub { $_[0]->close; $destroy->(1) }, on_close => sub { $destroy->(2) });
        $client->connect(url => "wss://127.0.0.1:$port/", on_connect => sub { $_[0]->send('x'); $_[0]->send('y' x 100_000) }, on_close => sub { $destroy->(3) });
    };
    $again->();
});
attack($victim, 'contexts with TLS', times => 100, limit => 2048, cpu => 6, sub {
    my ($times) = @_;
    $victim->do($times);
    $victim->meanwhile for 1 .. 100;
    run_until(sub { $victim->seen->{done} }, 'all have gone');
});

finish();
