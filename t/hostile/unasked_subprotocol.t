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
my @unasked = map { [ map { "Sec-WebSocket-Protocol: $_" } ref $_ ? @$_ : $_ ] } 'mail', 'CHAT', 'chat, news', 'chat;x', '', 'x' x 60_000, ' ' x 60_000 . 'x', ',' x 60_000, [ 'chat', 'news' ], [ ('chat') x 50 ];
my $count = 0;
my $server = RawServer->new(answer => sub { $_[0]->accept(fields => $unasked[ $count++ % @unasked ]) });
attack($victim, 'subprotocols', times => 10 * @unasked, warm => 3 * @unasked, cpu => 2, limit => 128, sub {
    my ($times) = @_;
    my $before = $victim->seen->{error} || 0;
    $victim->connect('ws://127.0.0.1:' . $server->port . '/') for 1 .. $times;
    $victim->meanwhile;
    run_until(sub { ($victim->seen->{error} || 0) == $before + $times }, 'each is an error');
    $server->{peers} = [];
});

finish();
