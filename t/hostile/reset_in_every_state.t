# A reset in each state of a connection. A classic of loops that go on being told of an
# error which nobody takes, at all of the processor.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use EV;
use Frame;
use Hostile;
use Run;
use Test::More;

my $victim = victim(listen => { on_request => sub { [ 200, [], ['x' x 100_000] ] } });
my $request = RawPeer->request;
my %state = (
    'accepted'           => sub { },
    'in the head'        => sub { $_[0]->put(substr $request, 0, 40) },
    'upgraded'           => sub { $_[0]->put($request) },
    'in a frame'         => sub { $_[0]->put($request)->send_frame(BINARY, 'x' x 100, claim => 60_000) },
    'in a message'       => sub { $_[0]->put($request)->send_frame(BINARY, 'x' x 1000, fin => 0) },
    'Pongs wait'         => sub { $_[0]->stop_reading->put($request); $_[0]->send_frame(PING, 'x' x 100) for 1 .. 20 },
    'closing'            => sub { $_[0]->put($request)->send_close(1000) },
    'failed'             => sub { $_[0]->put($request)->send_frame(3, 'x') },
    'half-closed'        => sub { $_[0]->put($request)->finish_writing },
    'in a response'      => sub { $_[0]->stop_reading->put("GET / HTTP/1.1\r\nHost: a\r\n\r\n" x 20) },
    'in a body'          => sub { $_[0]->put("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nbody") },
);
attack($victim, 'resets', times => 40, warm => 20, cpu => 3, limit => 128, sub {
    my ($times) = @_;
    for my $name (sort keys %state) {
        for my $n (1 .. $times) {
            my $peer = $victim->peer;
            $state{$name}->($peer);
            wait_until(sub { defined $peer->head || $peer->eof }) if $n % 2 && $name =~ /upgraded|frame|message|closing/;
            $peer->hang_up(reset => 1);
        }
        $victim->meanwhile;
    }
});
$victim->is_at_rest;

finish();
