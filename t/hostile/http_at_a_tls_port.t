# Plain HTTP, and noise, where TLS is spoken. A classic of servers that answer in the wrong
# language, or wait for a record of the length that "GET" would be.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Certificates;
use Hostile;
use RawPeer;
use Run;
use Test::More;

my $made = Certificates->new;
$made->ca('ca');
$made->issue('server', issuer => 'ca');
my $victim = victim(listen => { $made->listen_with('server') });
my @bytes = (RawPeer->request, 'GET / HTTP/1.0', "\r\n\r\n", "\0" x 1000, "\x80\x2e\x01\x03\x01" . 'x' x 50, "SSH-2.0-x\r\n", 'x' x 100_000, "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n");
attack($victim, 'what is no TLS', times => 40, limit => 64, cpu => 3, sub {
    my ($times) = @_;
    for my $bytes ((@bytes) x $times) {
        my $peer = $victim->peer->put($bytes)->finish_writing;
        wait_until(sub { $peer->eof }) or fail('over');
        fail('upgraded') if ($peer->status || 400) != 400;
        $peer->hang_up;
    }
    $victim->meanwhile;
});
is($victim->seen->{connect}, 1, 'nobody but the neighbour was connected');

finish();
