# An upgrade that says it has a body, by its length, in chunks, by both. Behind a proxy that
# believes the other one, the body is the next request, or frames: request smuggling.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use RawPeer;
use Run;
use Test::More;

my $victim = victim();
my $key = bless({ role => 'client' }, 'RawPeer');
my $frame = $key->make(TEXT, 'smuggled');
my $body = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
my @headers = (
    { 'Content-Length' => length $body }, { 'Content-Length' => '9' x 30 }, { 'Content-Length' => -1 },
    { 'Transfer-Encoding' => 'chunked' }, { 'Transfer-Encoding' => 'chunked', 'Content-Length' => 5 },
    { 'Transfer-Encoding' => 'gzip, chunked' }, { 'Transfer-Encoding' => "\x0bchunked" }, { 'Content-Length' => [ 0, 5 ] },
    { 'Content-Length' => '0, 5' }, { 'Transfer-Encoding' => [ 'identity', 'chunked' ] }, { 'Content-Length ' => 5 },
);
attack($victim, 'upgrades with bodies', times => 20, warm => 5, cpu => 2, sub {
    my ($times) = @_;
    for my $headers ((@headers) x $times) {
        my $peer = $victim->peer->put(RawPeer->request(headers => $headers) . $body . $frame);
        run_until(sub { $peer->eof }, 'refused, and over') if $times == 5;
        wait_until(sub { $peer->eof });
        fail(join ' ', %$headers, 'is ' . $peer->status) if ($peer->status || 0) !~ /\A(?:400|413|501)\z/;
        fail('answered twice') if $peer->rest =~ m{HTTP/1};
    }
    $victim->meanwhile;
});
is($victim->seen->{connect}, 1, 'nobody but the neighbour was connected');

finish();
