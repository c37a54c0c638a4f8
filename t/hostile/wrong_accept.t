# Accept keys of other requests, and other mistakes of a 101. A classic of clients that
# look at the status alone: a cache, or a form's target, can be made to answer with it.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use RawServer;
use Run;
use Test::More;

my $victim = victim();
my @wrong = map { { with => $_ } } { 'Sec-WebSocket-Accept' => 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=' }, { 'Sec-WebSocket-Accept' => undef }, { 'Sec-WebSocket-Accept' => '' },
    { 'Sec-WebSocket-Accept' => 'x' x 60_000 }, { Upgrade => undef }, { Upgrade => 'h2c' }, { Upgrade => 'websocket, h2c' }, { Connection => undef }, { Connection => 'close' };
push @wrong, map { { status => $_ } } 'HTTP/1.1 200 OK', 'HTTP/1.0 101 Switching', 'HTTP/1.1 10 1', 'HTTP/1.1 1010 x', 'ICY 101 OK', 'HTTP/2 101', '101';
push @wrong, { fields => [ map { "Sec-WebSocket-Accept: $_" } 1 .. 50 ] };
my $count = 0;
my $server = RawServer->new(answer => sub { my ($peer) = @_; $peer->accept(%{ $wrong[ $count++ % @wrong ] })->put(frame(opcode => TEXT, payload => 'early') x 20)->finish_writing });
$victim->refuses_answers('wrong answers', $server);

finish();
