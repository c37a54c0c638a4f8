# Subprotocols that the client did not ask for. A classic of clients that hand the program
# whatever the server names.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use RawServer;
use Run;
use Test::More;

my $victim = victim(connect => { protocol => [ 'chat', 'news' ] });
my @unasked = map { [ map { "Sec-WebSocket-Protocol: $_" } ref $_ ? @$_ : $_ ] } 
    'mail', 'CHAT', 'chat, news', 'chat;x', '', 'x' x 60_000,
    ' ' x 60_000 . 'x', ',' x 60_000, [ 'chat', 'news' ], [ ('chat') x 50 ];
my $count = 0;
my $server = RawServer->new(answer => sub { $_[0]->accept(fields => $unasked[ $count++ % @unasked ]) });
attack($victim, 'subprotocols', times => 400, cpu => 2, limit => 64, sub {
    my ($times) = @_;
    ok($victim->fails_to_connect('ws://127.0.0.1:' . $server->port . '/', $times), 'each is an error');
    $victim->meanwhile;
    $server->{peers} = [];
});

finish();
