use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Frame;
use Malformed;
use Pair;
use RawPeer;
use Run;
use Test::More;

# Everything malformed, from a raw client to our listener: on_error with a
# text, a Close with the right code, on_close with the same, the end of the
# connection; and another connection of that listener notices nothing.

my $pair = Pair->open(listen => { on_message => sub { $_[0]->send($_[1]) } });
my ($server, $client) = ($pair->server, $pair->client);

for my $case (Malformed::cases(bless { role => 'client' }, 'RawPeer')) {
    my ($name, $code, @frames) = @$case;
    my $peer = RawPeer->connect($pair->port)->upgrade;
    run_until(sub { $server->count('connect') && $peer->head && $server->conn != $pair->s }, "$name: connected");
    my $conn = $server->conn;
    $server->forget;
    $peer->put(join '', @frames);
    run_until(sub { $server->count('close') && $peer->eof }, "$name: on_close, and the connection ended");

    my @log = grep { $_->[1] == $conn && $_->[0] =~ /error|close/ } @{ $server->log };
    is(join(' ', map { $_->[0] } @log), 'error close', "$name: on_error, then on_close");
    like($server->last_of('error')->[0], qr/\S/, "$name: with a text");
    is($server->last_of('close')->[0], $code, "$name: $code in on_close");
    is(($peer->close_read)[0], $code, "$name: $code on the wire");
    is($conn->state, 'closed', "$name: closed");

    my $before = $client->count('message');
    $pair->c->send($name);
    run_until(sub { $client->count('message') > $before }, "$name: the other connection goes on");
    $server->{conn} = $pair->s;
}
is($client->order, 'connect' . ' message' x $client->count('message'), 'and never noticed anything');

finish();
