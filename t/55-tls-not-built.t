use strict;
use warnings;
use EV::Websockets;
use Test::More;

# Options that a program relies on for its safety croak while they are not there. A mere warning would let it
# run as if clients were verified.

my @warnings;
$SIG{__WARN__} = sub { push @warnings, @_ };

my $context = EV::Websockets::Context->new(proxy => '');
for my $option (qw(ssl_verify_client ssl_client_ca ssl_sni)) {
    for my $try (1, 2) {
        my $port = eval { $context->listen(port => 0, $option => 1) };
        is($port, undef, "$option: no listener, in try $try");
        like($@, qr/^listen: \Q$option\E is not built yet at \Q$0\E line/, 'and why');
    }
}
is_deeply(\@warnings, [], 'no warning');
done_testing;
